"""An order as every endpoint and the cache serve it: bytes, written once, here. May import log.

The document is a pure function of the stream up to its version: the same for every caller, setting
and clock, so that ETag, cache, repeats and rebuilt read models agree byte for byte.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, overload

import orjson
from msgspec import Struct
from msgspec.json import Encoder

from order_service.domain import state as rules
from order_service.domain.money import to_text
from order_service.domain.state import Order, Payment, Refund, Return, Shipment, Standing
from order_service.log.fold import FoldedOrder

_encode = Encoder().encode


class _Item(Struct):
    """A line as it is shown. A struct of msgspec, since a rebuild makes ten of them an order: made
    and written in half of the time of a dictionary (0.35 us instead of 0.7)."""

    line_id: int
    sku: str
    name: str | None
    quantity: int
    unit_price: str | None
    canceled: int
    shipped: int
    delivered: int
    returned: int
    attributes: Mapping[str, str]


def document(folded: FoldedOrder) -> bytes:
    """Written once and kept with the order: a command's answer and its cache refresh share it."""
    if folded.rendered is None:
        rendered = _encode(_fields(folded, folded.standing))
        object.__setattr__(folded, "rendered", rendered)
    assert folded.rendered is not None
    return folded.rendered


def as_json(folded: FoldedOrder) -> dict[str, Any]:
    """The same, to be part of something else."""
    shown: dict[str, Any] = orjson.loads(document(folded))
    return shown


def etag(folded: FoldedOrder) -> str:
    """The strong tag of the document."""
    return f'"{folded.version}"'


def _fields(folded: FoldedOrder, stands: Standing) -> dict[str, Any]:
    order = folded.order
    currency = order.currency
    return {
        "id": folded.id,
        "number": folded.number,
        "user_id": order.user_id,
        "status": stands.status,
        "payment_status": stands.payment_status,
        "fulfillment_status": stands.fulfillment_status,
        "allowed_transitions": rules.TRANSITIONS[stands.status],
        "currency": currency,
        "total_price": to_text(stands.total_minor, currency),
        "shipping_fee": to_text(order.shipping_fee_minor, currency),
        "discount": to_text(order.discount_minor, currency),
        "authorized": to_text(stands.authorized_minor, currency),
        "captured": to_text(order.captured_minor, currency),
        "refunded": to_text(order.refunded_minor, currency),
        "refund_pending": to_text(order.refund_pending_minor, currency),
        "amount_due": to_text(stands.amount_due_minor, currency),
        "credit_due": to_text(stands.credit_due_minor, currency),
        "items": _items(order),
        "payments": [_payment(payment, currency) for payment in order.payments.values()],
        "shipments": [_shipment(shipment) for shipment in order.shipments.values()],
        "refunds": [_refund(refund, currency) for refund in order.refunds.values()],
        "returns": [_return(returned) for returned in order.returns.values()],
        "external_reference": order.external_reference,
        "cancel_reason": order.cancel_reason,
        "version": folded.version,
        "created_at": json_time(folded.created_at),
        "updated_at": json_time(folded.updated_at),
    }


def _items(order: Order) -> list[_Item]:
    currency = order.currency
    return [
        _Item(
            line.line_id,
            line.sku,
            line.name,
            line.quantity,
            None if line.unit_price_minor is None else to_text(line.unit_price_minor, currency),
            canceled,
            shipped,
            delivered,
            returned,
            # sorted: the log keeps JSON objects without the order of their keys
            dict(sorted(line.attributes.items())) if line.attributes else line.attributes,
        )
        for line, canceled, shipped, delivered, returned in order.lines.values()
    ]


def _payment(payment: Payment, currency: str) -> dict[str, Any]:
    return {
        "id": payment.payment_id,
        "kind": "authorization" if payment.authorized_minor else "capture",
        "authorized": to_text(payment.authorized_minor, currency),
        "open": to_text(payment.open_minor, currency),
        "captured": to_text(payment.captured_minor, currency),
        "source": payment.source,
        "method": payment.method,
        "provider_reference": payment.provider_reference,
        "expires_at": json_time(payment.expires_at),
        "failure_code": payment.failure_code,
    }


def _shipment(shipment: Shipment) -> dict[str, Any]:
    return {
        "id": shipment.shipment_id,
        "lines": shipment.lines,
        "carrier": shipment.carrier,
        "tracking_number": shipment.tracking_number,
        "dispatched_at": json_time(shipment.dispatched_at),
        "delivered_at": json_time(shipment.delivered_at),
        "voided": shipment.voided,
    }


def _refund(refund: Refund, currency: str) -> dict[str, Any]:
    return {
        "id": refund.refund_id,
        "status": refund.status,
        "amount": to_text(refund.amount_minor, currency),
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
            {
                "line_id": line.line_id,
                "quantity": line.quantity,
                "received": returned.received.get(line.line_id, 0),
            }
            for line in returned.lines
        ],
    }


def json_time(at: datetime | None) -> datetime | str | None:
    """What is written as `time_text`, in a tenth of its time: msgspec and orjson only leave out a
    fraction of nothing."""
    return at if at and at.microsecond and at.tzinfo is UTC else time_text(at)


@overload
def time_text(at: datetime) -> str: ...
@overload
def time_text(at: None) -> None: ...
def time_text(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds: one instant has one text."""
    if at is None:
        return None
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"  # a third of strftime's time
