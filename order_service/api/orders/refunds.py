"""Refunds: requested, settled, failed."""

from uuid import UUID, uuid4

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import PartPath, Price, minor, part_id
from order_service.domain.commands import FailRefund, RequestRefund, SettleRefund
from order_service.domain.events import RefundReason
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Code, Note, Words

router = CommandRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"])


class RequestRefundRequest(ChangeBody):
    """The default of `amount` is the refundable amount."""

    amount: Price | None = None
    reason: RefundReason
    note: Note | None = None


class SettleRefundRequest(ChangeBody):
    provider_reference: Words | None = None


class FailRefundRequest(ChangeBody):
    code: Code


@router.command(
    "POST",
    "/",
    RequestRefund,
    operation_id="refunds_request",
    summary="Request a refund",
    problems=("refund-exceeds-captured",),
    text_kind="refund",
)
def request_refund(
    body: RequestRefundRequest, order: FoldedOrder, text_ref: UUID | None
) -> RequestRefund:
    """Requests that money is paid back; the refund is pending until it is settled or fails."""
    return RequestRefund(uuid4(), minor(body.amount, order), body.reason, text_ref)


@router.command(
    "POST",
    "/{refund_id}/settle/",
    SettleRefund,
    operation_id="refunds_settle",
    summary="Settle a refund",
    problems=("not-found", "refund-not-pending"),
)
def settle_refund(body: SettleRefundRequest, refund_id: PartPath) -> SettleRefund:
    """Records that the money was paid back."""
    return SettleRefund(part_id(refund_id), body.provider_reference)


@router.command(
    "POST",
    "/{refund_id}/fail/",
    FailRefund,
    operation_id="refunds_fail",
    summary="Record that a refund failed",
    problems=("not-found", "refund-not-pending"),
)
def fail_refund(body: FailRefundRequest, refund_id: PartPath) -> FailRefund:
    """Records that the money could not be paid back. Another refund may be requested."""
    return FailRefund(part_id(refund_id), body.code)
