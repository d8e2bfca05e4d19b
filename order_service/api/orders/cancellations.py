"""Cancellations of an order, or of units of a line."""

from typing import Self
from uuid import UUID, uuid4

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from order_service.api.orders.command_context import CommandContext
from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import LinePath, Quantity, line_id_of
from order_service.api.orders.permissions import check_cancel_window
from order_service.domain.commands import CancelOrder, CancelUnits
from order_service.domain.parts import CancelReason
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Note

router = CommandRouter(prefix="/orders/{order_id}", tags=["cancellations"])


class CancelRequest(ChangeBody):
    reason: CancelReason
    note: Note | None = None

    @model_validator(mode="after")
    def _check_note(self) -> Self:
        if self.reason == "OTHER" and self.note is None:
            raise PydanticCustomError("note_missing", "The reason OTHER needs a note")
        return self


class CancelUnitsRequest(CancelRequest):
    quantity: Quantity
    refund_shipping: bool = Field(
        default=False, strict=True, description="true: shipping is not charged any more."
    )


@router.command(
    "POST",
    "/cancel/",
    CancelOrder,
    operation_id="orders_cancel",
    summary="Cancel an order",
    problems=("already-shipped", "cancel-window-closed"),
    text_kind="cancel",
)
def cancel_order(
    body: CancelRequest, context: CommandContext, order: FoldedOrder, text_ref: UUID | None
) -> CancelOrder:
    """Cancels the order, and requests a refund of what was paid for it."""
    check_cancel_window(context.caller, order, context.settings, now())
    return CancelOrder(body.reason, uuid4(), text_ref)


@router.command(
    "POST",
    "/lines/{line_id}/cancel/",
    CancelUnits,
    operation_id="lines_cancel_units",
    summary="Cancel units of a line",
    problems=(
        "line-not-found",
        "invalid-transition",
        "order-not-editable",
        "quantity-exceeds-outstanding",
    ),
    text_kind="cancel_units",
)
def cancel_units(body: CancelUnitsRequest, text_ref: UUID | None, line_id: LinePath) -> CancelUnits:
    """Cancels units that have not shipped. The order is canceled with the last of them."""
    return CancelUnits(
        line_id_of(line_id),
        body.quantity,
        body.reason,
        uuid4(),
        text_ref,
        body.refund_shipping,
    )
