"""An order as every endpoint and the cache serve it: bytes, written once, here. May import log.

The document is a pure function of the stream up to its version: the same for every caller, setting
and clock, so that ETag, cache, repeats and rebuilt read models agree byte for byte.
"""

from datetime import datetime
from typing import Any

import orjson

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.state import LineState, Order, Refund, Shipment
from order_service.log.fold import FoldedOrder


def document(folded: FoldedOrder) -> bytes:
    return orjson.dumps(as_json(folded))


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
        "captured": _amount(order.captured_minor, order),
        "refunded": _amount(order.refunded_minor, order),
        "refund_pending": _amount(order.refund_pending_minor, order),
        "amount_due": _amount(rules.amount_due_minor(order), order),
        "credit_due": _amount(rules.credit_due_minor(order), order),
        "items": [_item(state, order) for state in order.lines.values()],
        "shipments": [_shipment(shipment) for shipment in order.shipments.values()],
        "refunds": [_refund(refund, order) for refund in order.refunds.values()],
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


def _shipment(shipment: Shipment) -> dict[str, Any]:
    return {
        "id": shipment.shipment_id,
        "lines": [{"line_id": q.line_id, "quantity": q.quantity} for q in shipment.lines],
        "carrier": shipment.carrier,
        "tracking_number": shipment.tracking_number,
        "delivered_at": time_text(shipment.delivered_at) if shipment.delivered_at else None,
    }


def _refund(refund: Refund, order: Order) -> dict[str, Any]:
    return {
        "id": refund.refund_id,
        "amount": _amount(refund.amount_minor, order),
        "cause": refund.cause,
        "reason": refund.reason,
    }


def _amount(minor: int, order: Order) -> str:
    return money.to_text(minor, order.currency)


def time_text(at: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds: one instant has one text."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
