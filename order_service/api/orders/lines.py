"""Changes to the lines of an unpaid order."""

from order_service.api.orders.command_context import CommandContext
from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Item, LinePath, Quantity, line_id_of
from order_service.api.orders.permissions import may_command, may_price, price_authority
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
    problems=("order-not-editable", "prices-not-trusted", "discount-exceeds-goods"),
    authorize=lambda context, body: _may_add(context.caller, body),
)
def add_line(body: AddLineRequest, context: CommandContext, order: FoldedOrder) -> AddLine:
    """Adds a line, with the next unused `line_id`. It has no part of the order's discount."""
    line = body.line(0, order.order.currency)
    return AddLine(line, price_authority(context.caller, context.settings))


def _may_add(caller: Caller, body: AddLineRequest) -> None:
    may_command(caller, AddLine)
    if body.has_prices:
        may_price(caller)


@router.command(
    "PATCH",
    "/{line_id}/",
    ChangeLineQuantity,
    operation_id="lines_change_quantity",
    summary="Change a line's quantity",
    problems=("line-not-found", "order-not-editable", "prices-not-trusted"),
)
def change_quantity(
    body: ChangeQuantityRequest, context: CommandContext, line_id: LinePath
) -> ChangeLineQuantity:
    """Changes the number of units that are ordered of the line. Units that are taken away take
    their part of discounts and tax along; units that are added bring none."""
    prices = price_authority(context.caller, context.settings)
    return ChangeLineQuantity(line_id_of(line_id), body.quantity, prices)


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
