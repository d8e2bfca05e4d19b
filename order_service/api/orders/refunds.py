"""Refunds: requested, settled, failed."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    PartPath,
    changes,
    part_id,
    written,
)
from order_service.api.orders.fields import Price, minor
from order_service.domain.commands import FailRefund, RequestRefund, SettleRefund
from order_service.domain.events import RefundReason
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Code, Note, Words
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"])


class RequestRefundRequest(ChangeBody):
    """Without `amount`: whatever can be given back."""

    amount: Price | None = None
    reason: RefundReason
    note: Note | None = None


class SettleRefundRequest(ChangeBody):
    provider_reference: Words | None = None


class FailRefundRequest(ChangeBody):
    code: Code


@router.post(
    "/",
    operation_id="refunds_request",
    **changes("Request a refund", "forbidden", "refund-exceeds-captured"),
)
async def request_refund(
    asking: AskingChangeDependency,
    body: Annotated[RequestRefundRequest, Depends(json_body(RequestRefundRequest))],
    order: OrderPath,
) -> Response:
    """Money is to be given back."""
    text_ref, texts = written("refund", body.note)

    def command(folded: FoldedOrder) -> RequestRefund:
        amount = None if body.amount is None else minor(body.amount, folded)
        return RequestRefund(uuid4(), amount, body.reason, text_ref)

    return await asking.carry_out(order, body, RequestRefund, command, texts)


@router.post(
    "/{refund_id}/settle/",
    operation_id="refunds_settle",
    **changes("Settle a refund", "forbidden", "not-found", "refund-not-pending"),
)
async def settle_refund(
    asking: AskingChangeDependency,
    body: Annotated[SettleRefundRequest, Depends(json_body(SettleRefundRequest, optional=True))],
    order: OrderPath,
    refund_id: PartPath,
) -> Response:
    """The money has been given back."""
    return await asking.carry_out(
        order,
        body,
        SettleRefund,
        lambda _: SettleRefund(part_id(refund_id), body.provider_reference),
    )


@router.post(
    "/{refund_id}/fail/",
    operation_id="refunds_fail",
    **changes("Record that a refund failed", "forbidden", "not-found", "refund-not-pending"),
)
async def fail_refund(
    asking: AskingChangeDependency,
    body: Annotated[FailRefundRequest, Depends(json_body(FailRefundRequest))],
    order: OrderPath,
    refund_id: PartPath,
) -> Response:
    """The money could not be given back: it may be asked for again."""
    return await asking.carry_out(
        order, body, FailRefund, lambda _: FailRefund(part_id(refund_id), body.code)
    )
