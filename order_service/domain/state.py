"""One order as it is: quantities, money, and the statuses that follow from them. Pure.

May import events and errors. Facts are quantities and money only; every status is derived from them
(the first line that fits wins), so no status can disagree with the facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from order_service.domain.events import CancelReason, LineQuantity, OrderLine

LINES_MAX = 200
QUANTITY_MAX = 100_000

Status = Literal[
    "PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED"
]
PaymentStatus = Literal[
    "UNPAID", "PARTIALLY_PAID", "PAID", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"
]
FulfillmentStatus = Literal[
    "UNFULFILLED", "PARTIALLY_SHIPPED", "SHIPPED", "PARTIALLY_DELIVERED", "DELIVERED", "CANCELED"
]


@dataclass(frozen=True, slots=True)
class LineState:
    """Invariants: `0 <= canceled`, `shipped <= quantity - canceled`, `delivered <= shipped`,
    `returned <= delivered`."""

    line: OrderLine
    canceled: int = 0
    shipped: int = 0
    delivered: int = 0
    returned: int = 0

    @property
    def active(self) -> int:
        return self.line.quantity - self.canceled

    @property
    def outstanding(self) -> int:
        return self.active - self.shipped


@dataclass(frozen=True, slots=True)
class Payment:
    payment_id: UUID
    amount_minor: int
    source: str
    provider_reference: str | None


@dataclass(frozen=True, slots=True)
class Shipment:
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    carrier: str | None
    tracking_number: str | None
    delivered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    refund_id: UUID
    amount_minor: int
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Order:
    """`agreed_total_minor`: set on an order whose lines have no prices."""

    user_id: UUID
    currency: str
    lines: Mapping[int, LineState]
    shipping_fee_minor: int
    discount_minor: int
    agreed_total_minor: int | None
    external_reference: str | None
    payments: Mapping[UUID, Payment] = field(default_factory=dict)
    shipments: Mapping[UUID, Shipment] = field(default_factory=dict)
    refunds: Mapping[UUID, Refund] = field(default_factory=dict)
    captured_minor: int = 0
    refunded_minor: int = 0
    refund_pending_minor: int = 0
    was_paid: bool = False
    cancel_reason: CancelReason | None = None


# --- what follows from the state ------------------------------------------------------------------


def units(order: Order) -> int:
    """Active units: ordered and not canceled."""
    return sum(line.active for line in order.lines.values())


def total_minor(order: Order) -> int:
    if order.agreed_total_minor is not None:
        return order.agreed_total_minor
    goods = sum((s.line.unit_price_minor or 0) * s.active for s in order.lines.values())
    return goods + order.shipping_fee_minor - order.discount_minor


def net_minor(order: Order) -> int:
    return order.captured_minor - order.refunded_minor


def payable_minor(order: Order) -> int:
    return 0 if order.cancel_reason else total_minor(order)


def amount_due_minor(order: Order) -> int:
    return max(0, payable_minor(order) - net_minor(order))


def credit_due_minor(order: Order) -> int:
    return max(0, net_minor(order) - order.refund_pending_minor - payable_minor(order))


def status(order: Order) -> Status:
    if order.cancel_reason:
        return "CANCELED"
    active = units(order)
    shipped = sum(line.shipped for line in order.lines.values())
    if active > 0 and sum(line.returned for line in order.lines.values()) == active:
        return "RETURNED"
    if active > 0 and sum(line.delivered for line in order.lines.values()) == active:
        return "DELIVERED"
    if active > 0 and shipped == active:
        return "SHIPPED"
    if shipped > 0:
        return "PARTIALLY_SHIPPED"
    return "PAID" if order.was_paid else "PENDING"


def payment_status(order: Order) -> PaymentStatus:
    if order.captured_minor == 0:
        return "PAID" if not order.cancel_reason and total_minor(order) == 0 else "UNPAID"
    if order.refunded_minor >= order.captured_minor:
        return "REFUNDED"
    if order.refunded_minor > 0:
        return "PARTIALLY_REFUNDED"
    net, payable = net_minor(order), payable_minor(order)
    if net > payable:
        return "OVERPAID"
    return "PAID" if net == payable else "PARTIALLY_PAID"


def fulfillment_status(order: Order) -> FulfillmentStatus:
    if order.cancel_reason:
        return "CANCELED"
    active = units(order)
    shipped = sum(line.shipped for line in order.lines.values())
    delivered = sum(line.delivered for line in order.lines.values())
    if delivered:
        return "DELIVERED" if delivered == active else "PARTIALLY_DELIVERED"
    if shipped:
        return "SHIPPED" if shipped == active else "PARTIALLY_SHIPPED"
    return "UNFULFILLED"


# What `ChangeStatus` may lead to, from each status; the same table answers `allowed_transitions`.
TRANSITIONS: Mapping[Status, tuple[Status, ...]] = {
    "PENDING": ("PAID", "CANCELED"),
    "PAID": ("SHIPPED", "CANCELED"),
    "PARTIALLY_SHIPPED": ("SHIPPED",),
    "SHIPPED": ("DELIVERED",),
    "DELIVERED": (),
    "RETURNED": (),
    "CANCELED": (),
}


def allowed_transitions(order: Order) -> tuple[Status, ...]:
    return TRANSITIONS[status(order)]
