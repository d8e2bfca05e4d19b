"""Payments: authorized, captured, voided, failed, reversed."""

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
    RestorePayment,
    ReversePayment,
    VoidAuthorization,
)
from order_service.domain.parts import AuthorizationVoidReason, ReversalKind
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Code, Time, Words

router = CommandRouter(prefix="/orders/{order_id}/payments", tags=["payments"])


Source = Literal["manual", "provider"]


class PaymentRequest(ChangeBody):
    """An authorization may have `method` and `expires_at`; a capture may have an
    `authorization_reference`. The default of `amount` is what is due (and, for an authorization,
    not held), or for a capture of an authorization all of it.

    What the `source` provider reports is recorded whatever the order's state and amount. Its
    `provider_reference` identifies it: sent again, it changes nothing. A capture has a reference of
    its own; under the reference of an authorization alone it is a capture of all of it."""

    kind: Literal["authorization", "capture"]
    amount: Price | None = None
    provider_reference: Words | None = None
    authorization_reference: Words | None = None
    method: Code | None = None
    expires_at: Time | None = None
    source: Source = "manual"

    @model_validator(mode="after")
    def _check_members_of_kind(self) -> Self:
        foreign = {"method", "expires_at"}
        if self.kind == "authorization":
            foreign = {"authorization_reference"}
        if foreign & self.model_fields_set:
            raise PydanticCustomError(
                "kind",
                "Send method and expires_at with an authorization only, and "
                "authorization_reference with a capture only",
            )
        return self


class CaptureRequest(ChangeBody):
    """The default of `amount` is the open amount of the authorization, at most the amount due."""

    amount: Price | None = None


class VoidAuthorizationRequest(ChangeBody):
    """`source` provider, `reason` EXPIRED: the provider reports that the hold has expired."""

    reason: AuthorizationVoidReason = "OTHER"
    source: Source = "manual"


class FailPaymentRequest(ChangeBody):
    code: Code
    source: Source = "manual"


class ReversePaymentRequest(ChangeBody):
    """The default of `amount` is all that was captured of the payment and not reversed."""

    kind: ReversalKind
    amount: Price | None = None
    provider_reference: Words | None = None


class RestorePaymentRequest(ChangeBody):
    """The default of `amount` is all that was reversed of the payment."""

    amount: Price | None = None
    provider_reference: Words | None = None


@router.command(
    "POST",
    "/",
    RecordPayment,  # AuthorizePayment has the same permission
    operation_id="payments_add",
    summary="Authorize a payment, or record one",
    problems=(
        *("not-found", "invalid-transition", "payment-reference-conflict", "amount-exceeds-due"),
        "capture-reference-required",
    ),
)
def add_payment(body: PaymentRequest, order: FoldedOrder) -> AuthorizePayment | RecordPayment:
    """Records reserved money (`kind` authorization) or received money (`kind` capture).

    What a provider reports (`source` provider) is recorded whatever the amount due. A repeat with
    the same `provider_reference` changes nothing.
    """
    amount, reference = minor(body.amount, order), body.provider_reference
    if body.kind == "authorization":
        return AuthorizePayment(
            *(uuid4(), amount, now(), body.method, reference, body.expires_at, body.source)
        )
    held = body.authorization_reference
    return RecordPayment(uuid4(), uuid4(), amount, body.source, reference, held)


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
    return VoidAuthorization(part_id(payment_id), body.reason, body.source)


@router.command(
    "POST",
    "/{payment_id}/fail/",
    RecordPaymentFailure,
    operation_id="payments_fail",
    summary="Record that a payment failed",
    problems=("not-found", "payment-captured"),
)
def fail_payment(body: FailPaymentRequest, payment_id: PartPath) -> RecordPaymentFailure:
    """Records that the provider refused the payment: nothing more can be captured of it."""
    return RecordPaymentFailure(part_id(payment_id), body.code, body.source)


@router.command(
    "POST",
    "/{payment_id}/reverse/",
    ReversePayment,
    operation_id="payments_reverse",
    summary="Record that captured money was taken back",
    problems=("not-found", "payment-reference-conflict", "reversal-exceeds-captured"),
)
def reverse_payment(
    body: ReversePaymentRequest, order: FoldedOrder, payment_id: PartPath
) -> ReversePayment:
    """Records a bounce or a chargeback. While money is due again, nothing ships."""
    amount = minor(body.amount, order)
    return ReversePayment(part_id(payment_id), amount, body.kind, body.provider_reference)


@router.command(
    "POST",
    "/{payment_id}/restore/",
    RestorePayment,
    operation_id="payments_restore",
    summary="Record that reversed money came back",
    problems=("not-found", "payment-reference-conflict", "reversal-exceeds-captured"),
)
def restore_payment(
    body: RestorePaymentRequest, order: FoldedOrder, payment_id: PartPath
) -> RestorePayment:
    """Records that a dispute was won."""
    amount = minor(body.amount, order)
    return RestorePayment(part_id(payment_id), amount, body.provider_reference)
