"""Changes to the lines of an unpaid order."""

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Item, LinePath, Quantity, line_id_of, minor
from order_service.api.orders.permissions import may_command, may_price
from order_service.domain.commands import AddLine, ChangeLineQuantity, RemoveLine
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody
from order_service.web.identity import Caller

router = CommandRouter(prefix="/orders/{order_id}/lines", tags=["lines"])


class AddLineRequest(ChangeBody, Item):
    """An item, as in the order itself."""


class RemoveLineRequest(ChangeBody):
    """Only the members of every change."""


class ChangeQuantityRequest(ChangeBody):
    quantity: Quantity


@router.command(
    "POST",
    "/",
    AddLine,
    operation_id="lines_add",
    summary="Add a line",
    problems=("order-not-editable",),
    authorize=lambda context, body: _may_add(context.caller, body),
)
def add_line(body: AddLineRequest, order: FoldedOrder) -> AddLine:
    """Adds a line, with the next unused `line_id`."""
    price = minor(body.unit_price, order)
    return AddLine(body.sku, body.name, body.quantity, price, body.attributes)


def _may_add(caller: Caller, body: AddLineRequest) -> None:
    may_command(caller, AddLine)
    if body.unit_price is not None:
        may_price(caller)


@router.command(
    "PATCH",
    "/{line_id}/",
    ChangeLineQuantity,
    operation_id="lines_change_quantity",
    summary="Change a line's quantity",
    problems=("line-not-found", "order-not-editable"),
)
def change_quantity(body: ChangeQuantityRequest, line_id: LinePath) -> ChangeLineQuantity:
    """Changes the number of units that are ordered of the line."""
    return ChangeLineQuantity(line_id_of(line_id), body.quantity)


@router.command(
    "DELETE",
    "/{line_id}/",
    RemoveLine,
    operation_id="lines_remove",
    summary="Remove a line",
    problems=("line-not-found", "order-not-editable", "last-line"),
)
def remove_line(body: RemoveLineRequest, line_id: LinePath) -> RemoveLine:
    """Removes the line. Its `line_id` is not used again."""
    return RemoveLine(line_id_of(line_id))
