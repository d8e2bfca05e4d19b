"""The JSON document of an order, as every endpoint and the cache serve it.

The document is a pure function of the stream up to its version. It does not depend on the caller,
the settings or the clock, so ETag, cache, repeated responses and rebuilt read models agree byte for
byte.
"""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from pydantic import Field

from order_service.documents.shape import Amount, Document, Instant, json_time, means, to_json
from order_service.domain import state
from order_service.domain.money import part, to_text
from order_service.domain.parts import CancelReason, HoldReason, RefundCause, ReturnReason
from order_service.domain.state import (
    FulfillmentStatus,
    PaymentStatus,
    RefundStatus,
    ReturnStatus,
    Status,
)
from order_service.log.fold import FoldedOrder


class OrderLine(Document):
    line_id: Annotated[int, means("Unique within the order; never used for another line.")]
    sku: str | None
    name: str | None
    quantity: Annotated[int, means("The ordered units, including the canceled ones.")]
    unit: Annotated[str | None, means("What `quantity` counts, such as g; null: pieces.")]
    unit_price: Annotated[
        Amount | None,
        means("May have more decimals than the currency. null if the order has an agreed total."),
    ]
    discount: Annotated[Amount, means("The line's own discount, for all its `quantity` units.")]
    share: Annotated[
        Amount, means("The line's share of the order's discount, for all its `quantity` units.")
    ]
    tax: Annotated[Amount, means("The tax on all its `quantity` units, as sent.")]
    tax_rate: Annotated[str | None, means("In percent, as sent.")]
    tax_name: str | None
    value: Annotated[
        Amount | None,
        means(
            "What the units that are not canceled cost: their price less `discount` and `share`, "
            "plus `tax` unless `tax_included`. null if the order has an agreed total."
        ),
    ]
    canceled: int
    shipped: int
    delivered: int
    returned: int
    attributes: Annotated[Mapping[str, str], means("The item's other members, as sent.")]


class Capture(Document):
    amount: Amount
    provider_reference: str | None


class Payment(Document):
    id: UUID
    kind: Annotated[str, means("`authorization` or `capture`.")]
    closed: Annotated[
        str | None,
        means("Why nothing more can be captured of it: `voided`, `expired` or `failed`."),
    ]
    authorized: Amount
    open: Annotated[Amount, means("The amount of the authorization that can still be captured.")]
    captured: Amount
    captures: Annotated[list[Capture], means("Each capture, oldest first.")]
    refund_pending: Amount
    refunded: Amount
    reversed: Annotated[Amount, means("Taken back by the provider: a bounce or a chargeback.")]
    to_void: Annotated[
        bool, means("The order is canceled and money is still held for it: void the payment.")
    ]
    source: Annotated[
        str | None,
        means(
            "`manual`, `provider`, or `self_service`: the order's owner set it to PAID, and "
            "nothing refunds it automatically."
        ),
    ]
    method: str | None
    provider_reference: str | None
    expires_at: Instant | None
    failure_code: str | None


class LineQuantity(Document):
    line_id: int
    quantity: int


class Shipment(Document):
    id: UUID
    lines: list[LineQuantity]
    carrier: str | None
    tracking_number: str | None
    dispatched_at: Instant
    delivered_at: Instant | None
    voided: bool


class Refund(Document):
    id: UUID
    status: RefundStatus
    amount: Amount
    cause: RefundCause
    reason: str
    payment_id: UUID | None
    provider_reference: str | None
    failure_code: str | None


class ReturnedLine(Document):
    line_id: int
    quantity: int
    received: int


class Return(Document):
    id: UUID
    status: ReturnStatus
    reason: ReturnReason
    lines: list[ReturnedLine]


class Hold(Document):
    id: UUID
    reason: HoldReason
    released: bool


class Order(Document):
    """An order, the same for every caller: a pure function of its events up to `version`."""

    id: UUID
    number: Annotated[
        str,
        Field(
            description="The order number, for people; accepted wherever an {order_id} is.",
            examples=["A-100042-1"],
        ),
    ]
    user_id: Annotated[UUID | None, means("The order's owner; null: a guest.")]
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    allowed_transitions: Annotated[
        tuple[Status, ...], means("Allowed by the order's state, whatever the caller's role.")
    ]
    currency: Annotated[str, Field(description="ISO 4217.", examples=["USD"])]
    total_price: Annotated[Amount, means("The items' `value` and the shipping fee.")]
    shipping_fee: Amount
    shipping_tax: Annotated[Amount, means("The tax on the shipping fee, as sent.")]
    tax_included: Annotated[
        bool, means("Whether prices include the taxes; if not, the taxes are added to the total.")
    ]
    discount: Annotated[
        Amount,
        means("As given at first. Units that are canceled or removed take their part of it along."),
    ]
    prices_trusted: Annotated[bool, means("Whether the shop, not its customer, set the prices.")]
    authorized: Annotated[Amount, means("Authorized and not captured yet.")]
    captured: Amount
    refunded: Amount
    refund_pending: Amount
    reversed: Annotated[Amount, means("Captured money that the provider has taken back.")]
    returned: Annotated[
        Amount, means("What the units that came back cost, and shipping if it was given back.")
    ]
    amount_due: Annotated[
        Amount,
        means(
            "`total_price` (0 if canceled) less `returned` less what was captured and neither "
            "refunded nor reversed; not below 0."
        ),
    ]
    credit_due: Annotated[Amount, means("The amount owed to the customer.")]
    items: list[OrderLine]
    payments: list[Payment]
    shipments: list[Shipment]
    refunds: list[Refund]
    returns: list[Return]
    holds: Annotated[list[Hold], means("Nothing ships while one is not released.")]
    external_reference: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    cancel_reason: CancelReason | None
    version: Annotated[int, means("The number of the order's events; also the ETag.")]
    created_at: Instant
    updated_at: Instant


def document(folded: FoldedOrder) -> bytes:
    """The order's JSON, encoded once: a command's response and its cache refresh share it."""
    if folded.rendered is None:
        rendered = to_json(order_document(folded))
        object.__setattr__(folded, "rendered", rendered)
    assert folded.rendered is not None
    return folded.rendered


def etag(version: int) -> str:
    """The strong entity tag of the document of this version."""
    return f'"{version}"'


def order_document(folded: FoldedOrder) -> Order:
    """The order's document. Arguments are positional, here and below, for speed: a rebuild creates
    six of these objects per order."""
    order, summary = folded.order, folded.summary
    currency = order.currency
    return Order(
        folded.id,
        folded.number,
        order.user_id,
        summary.status,
        summary.payment_status,
        summary.fulfillment_status,
        state.transitions(summary),
        currency,
        to_text(summary.total_minor, currency),
        to_text(order.shipping_fee_minor, currency),
        to_text(order.shipping_tax_minor, currency),
        order.tax_included,
        to_text(order.discount_minor, currency),
        order.prices_trusted,
        to_text(summary.authorized_minor, currency),
        to_text(order.captured_minor, currency),
        to_text(order.refunded_minor, currency),
        to_text(order.refund_pending_minor, currency),
        to_text(order.reversed_minor, currency),
        to_text(order.returned_minor, currency),
        to_text(summary.amount_due_minor, currency),
        to_text(summary.credit_due_minor, currency),
        _items(order),
        [_payment(payment, order) for payment in order.payments.values()],
        [_shipment(shipment) for shipment in order.shipments.values()],
        [_refund(refund, currency) for refund in order.refunds.values()],
        [_return(returned) for returned in order.returns.values()],
        [Hold(h.hold_id, h.reason, h.released) for h in order.holds.values()],
        order.external_reference,
        order.tags,
        # sorted: the log does not keep the order of an object's keys
        dict(sorted(order.metadata.items())) if order.metadata else order.metadata,
        order.cancel_reason,
        folded.version,
        json_time(folded.created_at),
        json_time(folded.updated_at),
    )


def _items(order: state.Order) -> list[OrderLine]:
    currency = order.currency
    zero = to_text(0, currency)
    return [
        OrderLine(
            line.line_id,
            line.sku,
            line.name,
            line.quantity,
            line.unit,
            None
            if line.unit_price_minor is None
            else to_text(line.unit_price_minor, currency, line.unit_price_scale),
            to_text(line.discount_minor, currency) if line.discount_minor else zero,
            to_text(line.share_minor, currency) if line.share_minor else zero,
            to_text(line.tax_minor, currency) if line.tax_minor else zero,
            line.tax_rate,
            line.tax_name,
            None
            if line.unit_price_minor is None
            else to_text(
                value if canceled == 0 else part(value, line.quantity - canceled, line.quantity),
                currency,
            ),
            canceled,
            shipped,
            delivered,
            returned,
            # sorted: the log does not keep the order of an object's keys
            dict(sorted(line.attributes.items())) if line.attributes else line.attributes,
        )
        for line, canceled, shipped, delivered, returned, value in order.lines.values()
    ]


def _payment(payment: state.Payment, order: state.Order) -> Payment:
    currency = order.currency
    return Payment(
        payment.payment_id,
        "authorization" if payment.authorized_minor else "capture",
        payment.closed,
        to_text(payment.authorized_minor, currency),
        to_text(payment.open_minor, currency),
        to_text(payment.captured_minor, currency),
        [Capture(to_text(c.amount_minor, currency), c.reference) for c in payment.captures],
        to_text(payment.refund_pending_minor, currency),
        to_text(payment.refunded_minor, currency),
        to_text(payment.reversed_minor, currency),
        order.cancel_reason is not None and payment.open_minor > 0,
        payment.source,
        payment.method,
        payment.provider_reference,
        json_time(payment.expires_at),
        payment.failure_code,
    )


def _shipment(shipment: state.Shipment) -> Shipment:
    return Shipment(
        shipment.shipment_id,
        [LineQuantity(line.line_id, line.quantity) for line in shipment.lines],
        shipment.carrier,
        shipment.tracking_number,
        json_time(shipment.dispatched_at),
        json_time(shipment.delivered_at),
        shipment.voided,
    )


def _refund(refund: state.Refund, currency: str) -> Refund:
    return Refund(
        refund.refund_id,
        refund.status,
        to_text(refund.amount_minor, currency),
        refund.cause,
        refund.reason,
        refund.payment_id,
        refund.provider_reference,
        refund.failure_code,
    )


def _return(returned: state.Return) -> Return:
    return Return(
        returned.return_id,
        returned.status,
        returned.reason,
        [
            ReturnedLine(line.line_id, line.quantity, returned.received.get(line.line_id, 0))
            for line in returned.lines
        ],
    )
