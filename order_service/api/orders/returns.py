"""Returns: requested, approved, rejected, canceled, received."""

from uuid import UUID, uuid4

from pydantic import Field

from order_service.api.orders.command_context import CommandContext
from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Lines, LineUnits, PartPath, part_id, quantities
from order_service.api.orders.permissions import return_window
from order_service.domain.commands import (
    ApproveReturn,
    CancelReturn,
    ReceiveReturn,
    RejectReturn,
    RequestReturn,
)
from order_service.domain.parts import ReceivedQuantity, ReturnCondition, ReturnReason
from order_service.domain.state import LINES_MAX
from order_service.ids import now
from order_service.web.fields import ChangeBody, Note

router = CommandRouter(prefix="/orders/{order_id}/returns", tags=["returns"])


class RequestReturnRequest(ChangeBody):
    lines: Lines
    reason: ReturnReason
    note: Note | None = None


class DecideReturnRequest(ChangeBody):
    """Only the members of every change."""


class RejectReturnRequest(ChangeBody):
    note: Note | None = None


class ReceivedUnits(LineUnits):
    condition: ReturnCondition


class ReceiveReturnRequest(ChangeBody):
    """The default of `lines` is all approved units that are not yet received, as sellable."""

    # A line may come back in two conditions.
    lines: list[ReceivedUnits] | None = Field(default=None, min_length=1, max_length=2 * LINES_MAX)
    refund_shipping: bool = Field(
        default=False,
        strict=True,
        description="true: the shipping fee goes back as well, unless it already has.",
    )


@router.command(
    "POST",
    "/",
    RequestReturn,
    operation_id="returns_request",
    summary="Request a return",
    problems=("line-not-found", "return-window-closed", "quantity-exceeds-outstanding"),
    text_kind="return",
)
def request_return(
    body: RequestReturnRequest, context: CommandContext, text_ref: UUID | None
) -> RequestReturn:
    """Requests a return of delivered units. Owners can do so until their return window closes."""
    window = return_window(context.caller, context.settings)
    return RequestReturn(uuid4(), quantities(body.lines), body.reason, now(), window, text_ref)


@router.command(
    "POST",
    "/{return_id}/approve/",
    ApproveReturn,
    operation_id="returns_approve",
    summary="Approve a return",
    problems=("not-found", "return-not-pending"),
)
def approve_return(body: DecideReturnRequest, return_id: PartPath) -> ApproveReturn:
    """Approves the return: the customer may send the units."""
    return ApproveReturn(part_id(return_id))


@router.command(
    "POST",
    "/{return_id}/reject/",
    RejectReturn,
    operation_id="returns_reject",
    summary="Reject a return",
    problems=("not-found", "return-not-pending"),
    text_kind="reject_return",
)
def reject_return(
    body: RejectReturnRequest, text_ref: UUID | None, return_id: PartPath
) -> RejectReturn:
    """Rejects the return: the shop does not take the units back."""
    return RejectReturn(part_id(return_id), text_ref)


@router.command(
    "POST",
    "/{return_id}/cancel/",
    CancelReturn,
    operation_id="returns_cancel",
    summary="Cancel a return",
    problems=("not-found", "return-not-pending"),
)
def cancel_return(body: DecideReturnRequest, return_id: PartPath) -> CancelReturn:
    """Cancels the return: the customer keeps the units."""
    return CancelReturn(part_id(return_id))


@router.command(
    "POST",
    "/{return_id}/receive/",
    ReceiveReturn,
    operation_id="returns_receive",
    summary="Receive a return",
    problems=("not-found", "line-not-found", "return-not-pending", "quantity-exceeds-outstanding"),
)
def receive_return(body: ReceiveReturnRequest, return_id: PartPath) -> ReceiveReturn:
    """Records that units came back, and requests a refund of what was paid for them."""
    lines = None
    if body.lines is not None:
        lines = tuple(
            ReceivedQuantity(line.line_id, line.quantity, line.condition) for line in body.lines
        )
    return ReceiveReturn(part_id(return_id), lines, uuid4(), body.refund_shipping)
