"""Payments: authorized, captured, voided, failed."""

from typing import Literal, Self
from uuid import uuid4

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import PartPath, Price, minor, part_id
from order_service.domain.commands import (
    AuthorizePayment,
    CapturePayment,
    RecordPayment,
    RecordPaymentFailure,
    VoidAuthorization,
)
from order_service.domain.events import AuthorizationVoidReason, PaymentSource
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Code, Time, Words

router = CommandRouter(prefix="/orders/{order_id}/payments", tags=["payments"])


class PaymentRequest(ChangeBody):
    """An authorization may have `method` and `expires_at`; a capture has a `source`. The default of
    `amount` is the amount due. With the `source` provider and the `provider_reference` of an
    authorization, the payment is a capture of that authorization: by default, of all of it."""

    kind: Literal["authorization", "capture"]
    amount: Price | None = None
    provider_reference: Words | None = None
    method: Code | None = None
    expires_at: Time | None = None
    source: PaymentSource = "manual"

    @model_validator(mode="after")
    def _check_members_of_kind(self) -> Self:
        foreign = {"source"} if self.kind == "authorization" else {"method", "expires_at"}
        if foreign & self.model_fields_set:
            raise PydanticCustomError(
                "kind",
                "Send method and expires_at with an authorization only, source with a capture",
            )
        return self


class CaptureRequest(ChangeBody):
    """The default of `amount` is the open amount of the authorization."""

    amount: Price | None = None


class VoidAuthorizationRequest(ChangeBody):
    reason: AuthorizationVoidReason = "OTHER"


class FailPaymentRequest(ChangeBody):
    code: Code


@router.command(
    "POST",
    "/",
    RecordPayment,  # AuthorizePayment has the same permission
    operation_id="payments_add",
    summary="Authorize a payment, or record one",
    problems=("invalid-transition", "payment-reference-conflict", "amount-exceeds-due"),
)
def add_payment(body: PaymentRequest, order: FoldedOrder) -> AuthorizePayment | RecordPayment:
    """Records reserved money (`kind` authorization) or received money (`kind` capture).

    A provider's capture (`source` provider) is recorded whatever the amount due. A repeat with the
    same `provider_reference` changes nothing.
    """
    amount, reference = minor(body.amount, order), body.provider_reference
    if body.kind == "authorization":
        return AuthorizePayment(uuid4(), amount, body.method, reference, body.expires_at)
    return RecordPayment(uuid4(), uuid4(), amount, body.source, reference)


@router.command(
    "POST",
    "/{payment_id}/capture/",
    CapturePayment,
    operation_id="payments_capture",
    summary="Capture an authorization",
    problems=("not-found", "invalid-transition", "payment-not-capturable", "amount-exceeds-due"),
)
def capture_payment(
    body: CaptureRequest, order: FoldedOrder, payment_id: PartPath
) -> CapturePayment:
    """Captures `amount` of the authorization."""
    amount = minor(body.amount, order)
    return CapturePayment(part_id(payment_id), amount, now())


@router.command(
    "POST",
    "/{payment_id}/void/",
    VoidAuthorization,
    operation_id="payments_void",
    summary="Void an authorization",
    problems=("not-found", "payment-not-voidable"),
)
def void_authorization(body: VoidAuthorizationRequest, payment_id: PartPath) -> VoidAuthorization:
    """Gives up the open amount of the authorization."""
    return VoidAuthorization(part_id(payment_id), body.reason)


@router.command(
    "POST",
    "/{payment_id}/fail/",
    RecordPaymentFailure,
    operation_id="payments_fail",
    summary="Record that a payment failed",
    problems=("not-found",),
)
def fail_payment(body: FailPaymentRequest, payment_id: PartPath) -> RecordPaymentFailure:
    """Records that the provider refused the payment."""
    return RecordPaymentFailure(part_id(payment_id), body.code)
