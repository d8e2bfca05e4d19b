"""An order as every endpoint and the cache serve it: bytes, written once, here. May import log.

The document is a pure function of the stream up to its version: the same for every caller, setting
and clock, so that ETag, cache, repeats and rebuilt read models agree byte for byte.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, overload

import orjson

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.events import LineQuantity
from order_service.domain.state import LineState, Order, Payment, Refund, Return, Shipment
from order_service.log.fold import FoldedOrder


def document(folded: FoldedOrder) -> bytes:
    """Written once and kept with the order: a command's answer and its cache refresh share it."""
    if folded.rendered is None:
        object.__setattr__(folded, "rendered", orjson.dumps(as_json(folded)))
    assert folded.rendered is not None
    return folded.rendered


def etag(folded: FoldedOrder) -> str:
    """The strong tag of the document."""
    return f'"{folded.version}"'


def as_json(folded: FoldedOrder) -> dict[str, Any]:
    order = folded.order
    return {
        "id": folded.id,
        "number": folded.number,
        "user_id": order.user_id,
        "status": rules.status(order),
        "payment_status": rules.payment_status(order),
        "fulfillment_status": rules.fulfillment_status(order),
        "allowed_transitions": rules.allowed_transitions(order),
        "currency": order.currency,
        "total_price": _amount(rules.total_minor(order), order),
        "shipping_fee": _amount(order.shipping_fee_minor, order),
        "discount": _amount(order.discount_minor, order),
        "authorized": _amount(rules.authorized_minor(order), order),
        "captured": _amount(order.captured_minor, order),
        "refunded": _amount(order.refunded_minor, order),
        "refund_pending": _amount(order.refund_pending_minor, order),
        "amount_due": _amount(rules.amount_due_minor(order), order),
        "credit_due": _amount(rules.credit_due_minor(order), order),
        "items": [_item(state, order) for state in order.lines.values()],
        "payments": [_payment(payment, order) for payment in order.payments.values()],
        "shipments": [_shipment(shipment) for shipment in order.shipments.values()],
        "refunds": [_refund(refund, order) for refund in order.refunds.values()],
        "returns": [_return(returned) for returned in order.returns.values()],
        "external_reference": order.external_reference,
        "cancel_reason": order.cancel_reason,
        "version": folded.version,
        "created_at": time_text(folded.created_at),
        "updated_at": time_text(folded.updated_at),
    }


def _item(state: LineState, order: Order) -> dict[str, Any]:
    line = state.line
    price = line.unit_price_minor
    return {
        "line_id": line.line_id,
        "sku": line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": None if price is None else _amount(price, order),
        "canceled": state.canceled,
        "shipped": state.shipped,
        "delivered": state.delivered,
        "returned": state.returned,
        # sorted: the log keeps JSON objects without the order of their keys
        "attributes": dict(sorted(line.attributes.items())),
    }


def _payment(payment: Payment, order: Order) -> dict[str, Any]:
    return {
        "id": payment.payment_id,
        "kind": "authorization" if payment.authorized_minor else "capture",
        "authorized": _amount(payment.authorized_minor, order),
        "open": _amount(payment.open_minor, order),
        "captured": _amount(payment.captured_minor, order),
        "source": payment.source,
        "method": payment.method,
        "provider_reference": payment.provider_reference,
        "expires_at": time_text(payment.expires_at),
        "failure_code": payment.failure_code,
    }


def _shipment(shipment: Shipment) -> dict[str, Any]:
    return {
        "id": shipment.shipment_id,
        "lines": _quantities(shipment.lines),
        "carrier": shipment.carrier,
        "tracking_number": shipment.tracking_number,
        "dispatched_at": time_text(shipment.dispatched_at),
        "delivered_at": time_text(shipment.delivered_at),
        "voided": shipment.voided,
    }


def _refund(refund: Refund, order: Order) -> dict[str, Any]:
    return {
        "id": refund.refund_id,
        "status": refund.status,
        "amount": _amount(refund.amount_minor, order),
        "cause": refund.cause,
        "reason": refund.reason,
        "payment_id": refund.payment_id,
        "provider_reference": refund.provider_reference,
        "failure_code": refund.failure_code,
    }


def _return(returned: Return) -> dict[str, Any]:
    return {
        "id": returned.return_id,
        "status": returned.status,
        "reason": returned.reason,
        "lines": [
            {**line, "received": returned.received.get(line["line_id"], 0)}
            for line in _quantities(returned.lines)
        ],
    }


def _quantities(lines: Sequence[LineQuantity]) -> list[dict[str, int]]:
    return [{"line_id": q.line_id, "quantity": q.quantity} for q in lines]


def _amount(minor: int, order: Order) -> str:
    return money.to_text(minor, order.currency)


@overload
def time_text(at: datetime) -> str: ...
@overload
def time_text(at: None) -> None: ...
def time_text(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds: one instant has one text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None
