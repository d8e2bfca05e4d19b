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
    """Without `amount`: whatever can be given back."""

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
    """Money is to be given back."""
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
    """The money has been given back."""
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
    """The money could not be given back: it may be asked for again."""
    return FailRefund(part_id(refund_id), body.code)
