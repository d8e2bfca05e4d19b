"""Refunds: requested, settled, failed."""

from typing import Literal, Self
from uuid import UUID, uuid4

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import PartPath, Price, minor, part_id
from order_service.domain.commands import FailRefund, RequestRefund, SettleRefund
from order_service.domain.parts import RefundReason
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Code, Id, Note, Words

router = CommandRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"])


class RequestRefundRequest(ChangeBody):
    """The default of `amount` is the refundable amount. Without `payment_id` the newest payments
    are paid back first, with one refund each. The `source` provider reports a refund that has been
    paid; its `provider_reference` identifies it."""

    amount: Price | None = None
    reason: RefundReason
    note: Note | None = None
    payment_id: Id | None = None
    source: Literal["manual", "provider"] = "manual"
    provider_reference: Words | None = None

    @model_validator(mode="after")
    def _check_reference(self) -> Self:
        if (self.source == "provider") != (self.provider_reference is not None):
            raise PydanticCustomError(
                "reference",
                "Send provider_reference with the source provider, and with no other",
            )
        return self


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
    problems=("not-found", "refund-exceeds-captured", "payment-reference-conflict"),
    text_kind="refund",
)
def request_refund(
    body: RequestRefundRequest, order: FoldedOrder, text_ref: UUID | None
) -> RequestRefund:
    """Requests that money is paid back; the refund is pending until it is settled or fails."""
    amount, reference = minor(body.amount, order), body.provider_reference
    return RequestRefund(
        *(uuid4(), amount, body.reason, text_ref, body.payment_id, body.source, reference)
    )


@router.command(
    "POST",
    "/{refund_id}/settle/",
    SettleRefund,
    operation_id="refunds_settle",
    summary="Settle a refund",
    problems=("not-found", "refund-not-pending", "payment-reference-conflict"),
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
