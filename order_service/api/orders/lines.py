"""The lines of an order that nobody has paid for yet."""

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Item, LinePath, Quantity, line_id_of, minor
from order_service.domain.commands import AddLine, ChangeLineQuantity, RemoveLine
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody

router = CommandRouter(prefix="/orders/{order_id}/lines", tags=["lines"])


class AddLineRequest(ChangeBody, Item):
    """An item, as in the order itself."""


class RemoveLineRequest(ChangeBody):
    """Nothing but what every change may say."""


class ChangeQuantityRequest(ChangeBody):
    quantity: Quantity


@router.command(
    "POST",
    "/",
    AddLine,
    operation_id="lines_add",
    summary="Add a line",
    problems=("order-not-editable",),
)
def add_line(body: AddLineRequest, order: FoldedOrder) -> AddLine:
    """The order has one more line, under the next `line_id`."""
    price = minor(body.unit_price, order)
    return AddLine(body.sku, body.name, body.quantity, price, body.attributes)


@router.command(
    "PATCH",
    "/{line_id}/",
    ChangeLineQuantity,
    operation_id="lines_change_quantity",
    summary="Change a line's quantity",
    problems=("line-not-found", "order-not-editable"),
)
def change_quantity(body: ChangeQuantityRequest, line_id: LinePath) -> ChangeLineQuantity:
    """That many units of the line are ordered."""
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
    """The line is gone; its number is not used again."""
    return RemoveLine(line_id_of(line_id))
