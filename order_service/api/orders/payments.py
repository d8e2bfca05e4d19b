"""Payments: authorized, captured, voided, failed."""

from typing import Annotated, Literal, Self
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    PartPath,
    changes,
    part_id,
)
from order_service.api.orders.fields import Price, minor
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
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}/payments", tags=["payments"])


class PaymentRequest(ChangeBody):
    """An authorization may have `method` and `expires_at`, a capture has its `source`. Without
    `amount`: whatever is due. With a provider as `source` and an authorization's
    `provider_reference`, so much of that was captured; without `amount`, all of it."""

    kind: Literal["authorization", "capture"]
    amount: Price | None = None
    provider_reference: Words | None = None
    method: Code | None = None
    expires_at: Time | None = None
    source: PaymentSource = "manual"

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        foreign = {"source"} if self.kind == "authorization" else {"method", "expires_at"}
        if foreign & self.model_fields_set:
            raise PydanticCustomError(
                "kind", "method and expires_at are an authorization's, source is a capture's"
            )
        return self

    def command(self, folded: FoldedOrder) -> AuthorizePayment | RecordPayment:
        amount = None if self.amount is None else minor(self.amount, folded)
        reference = self.provider_reference
        if self.kind == "authorization":
            return AuthorizePayment(uuid4(), amount, self.method, reference, self.expires_at)
        return RecordPayment(uuid4(), uuid4(), amount, self.source, reference)


class CaptureRequest(ChangeBody):
    """Without `amount`: whatever is open of the authorization."""

    amount: Price | None = None


class VoidAuthorizationRequest(ChangeBody):
    reason: AuthorizationVoidReason = "OTHER"


class FailPaymentRequest(ChangeBody):
    code: Code


@router.post(
    "/",
    operation_id="payments_add",
    **changes(
        "Authorize a payment, or record one",
        "forbidden",
        "invalid-transition",
        "payment-reference-conflict",
        "amount-exceeds-due",
    ),
)
async def add_payment(
    asking: AskingChangeDependency,
    body: Annotated[PaymentRequest, Depends(json_body(PaymentRequest))],
    order: OrderPath,
) -> Response:
    """Money is reserved (authorization) or has come in (capture).

    What a provider reports (`source` provider) is taken whatever is due; a `provider_reference`
    that is known already changes nothing.
    """
    kind = AuthorizePayment if body.kind == "authorization" else RecordPayment
    return await asking.carry_out(order, body, kind, body.command)


@router.post(
    "/{payment_id}/capture/",
    operation_id="payments_capture",
    **changes(
        "Capture an authorization",
        "forbidden",
        "not-found",
        "invalid-transition",
        "payment-not-capturable",
        "amount-exceeds-due",
    ),
)
async def capture_payment(
    asking: AskingChangeDependency,
    body: Annotated[CaptureRequest, Depends(json_body(CaptureRequest, optional=True))],
    order: OrderPath,
    payment_id: PartPath,
) -> Response:
    """So much of the authorization has come in."""

    def command(folded: FoldedOrder) -> CapturePayment:
        amount = None if body.amount is None else minor(body.amount, folded)
        return CapturePayment(part_id(payment_id), amount, now())

    return await asking.carry_out(order, body, CapturePayment, command)


@router.post(
    "/{payment_id}/void/",
    operation_id="payments_void",
    **changes("Void an authorization", "forbidden", "not-found", "payment-not-voidable"),
)
async def void_authorization(
    asking: AskingChangeDependency,
    body: Annotated[
        VoidAuthorizationRequest, Depends(json_body(VoidAuthorizationRequest, optional=True))
    ],
    order: OrderPath,
    payment_id: PartPath,
) -> Response:
    """What was open of the authorization is given up."""
    return await asking.carry_out(
        order,
        body,
        VoidAuthorization,
        lambda _: VoidAuthorization(part_id(payment_id), body.reason),
    )


@router.post(
    "/{payment_id}/fail/",
    operation_id="payments_fail",
    **changes("Record that a payment failed", "forbidden", "not-found"),
)
async def fail_payment(
    asking: AskingChangeDependency,
    body: Annotated[FailPaymentRequest, Depends(json_body(FailPaymentRequest))],
    order: OrderPath,
    payment_id: PartPath,
) -> Response:
    """The provider's refusal is on record."""
    return await asking.carry_out(
        order,
        body,
        RecordPaymentFailure,
        lambda _: RecordPaymentFailure(part_id(payment_id), body.code),
    )
