"""One order as it is: quantities, money, and the statuses that follow from them. Pure.

May import events and errors. Facts are quantities and money only; every status is derived from them
(the first line that fits wins), so no status can disagree with the facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from order_service.domain.events import CancelReason, LineQuantity, OrderLine, ReturnReason

LINES_MAX = 200
QUANTITY_MAX = 100_000

Status = Literal[
    "PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED"
]
PaymentStatus = Literal[
    "UNPAID",
    "AUTHORIZED",
    "PARTIALLY_PAID",
    "PAID",
    "OVERPAID",
    "PARTIALLY_REFUNDED",
    "REFUNDED",
]
FulfillmentStatus = Literal[
    "UNFULFILLED",
    "PARTIALLY_SHIPPED",
    "SHIPPED",
    "PARTIALLY_DELIVERED",
    "DELIVERED",
    "PARTIALLY_RETURNED",
    "RETURNED",
    "CANCELED",
]
RefundStatus = Literal["PENDING", "COMPLETED", "FAILED"]
ReturnStatus = Literal["REQUESTED", "APPROVED", "REJECTED", "CANCELED", "RECEIVED"]


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
    """`authorized_minor` is 0 for money that was captured at once; `open_minor` is what may still
    be captured of an authorization."""

    payment_id: UUID
    authorized_minor: int
    open_minor: int
    captured_minor: int
    provider_reference: str | None
    source: str | None = None
    method: str | None = None
    expires_at: datetime | None = None
    failure_code: str | None = None


@dataclass(frozen=True, slots=True)
class Shipment:
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    dispatched_at: datetime
    carrier: str | None
    tracking_number: str | None
    delivered_at: datetime | None = None
    voided: bool = False


@dataclass(frozen=True, slots=True)
class Refund:
    refund_id: UUID
    amount_minor: int
    cause: str
    reason: str
    payment_id: UUID | None
    status: RefundStatus = "PENDING"
    provider_reference: str | None = None
    failure_code: str | None = None


@dataclass(frozen=True, slots=True)
class Return:
    """`received`: line to units that have come back under this return."""

    return_id: UUID
    lines: tuple[LineQuantity, ...]
    reason: ReturnReason
    status: ReturnStatus = "REQUESTED"
    received: Mapping[int, int] = field(default_factory=dict)

    def outstanding(self, line: LineQuantity) -> int:
        return line.quantity - self.received.get(line.line_id, 0)


@dataclass(frozen=True, slots=True)
class Order:
    """`agreed_total_minor`: set on an order whose lines have no prices. `last_line_id`: highest
    number ever given to a line: none is used twice."""

    user_id: UUID
    currency: str
    lines: Mapping[int, LineState]
    last_line_id: int
    shipping_fee_minor: int
    discount_minor: int
    agreed_total_minor: int | None
    external_reference: str | None
    address_ref: UUID | None = None
    payments: Mapping[UUID, Payment] = field(default_factory=dict)
    shipments: Mapping[UUID, Shipment] = field(default_factory=dict)
    refunds: Mapping[UUID, Refund] = field(default_factory=dict)
    returns: Mapping[UUID, Return] = field(default_factory=dict)
    captured_minor: int = 0
    refunded_minor: int = 0
    refund_pending_minor: int = 0
    was_paid: bool = False
    cancel_reason: CancelReason | None = None


# --- what follows from the state ------------------------------------------------------------------


def units(order: Order) -> int:
    """Active units: ordered and not canceled."""
    return sum(line.active for line in order.lines.values())


def _all(order: Order, of: Literal["shipped", "delivered", "returned"]) -> bool:
    """Every active unit was shipped, delivered or returned, and there is one."""
    active = units(order)
    return active > 0 and _sum(order, of) == active


def _sum(order: Order, of: Literal["shipped", "delivered", "returned"]) -> int:
    return sum(getattr(line, of) for line in order.lines.values())


def is_shipped(order: Order) -> bool:
    return _all(order, "shipped")


def is_delivered(order: Order) -> bool:
    return _all(order, "delivered")


def is_returned(order: Order) -> bool:
    return _all(order, "returned")


def total_minor(order: Order) -> int:
    """Never below nothing: a discount may be worth more than what is left after units were
    canceled."""
    if order.agreed_total_minor is not None:
        return order.agreed_total_minor
    goods = sum((s.line.unit_price_minor or 0) * s.active for s in order.lines.values())
    return max(0, goods + order.shipping_fee_minor - order.discount_minor)


def authorized_minor(order: Order) -> int:
    """What may still be captured of authorizations."""
    return sum(payment.open_minor for payment in order.payments.values())


def net_minor(order: Order) -> int:
    return order.captured_minor - order.refunded_minor


def payable_minor(order: Order) -> int:
    return 0 if order.cancel_reason else total_minor(order)


def amount_due_minor(order: Order) -> int:
    return max(0, payable_minor(order) - net_minor(order))


def credit_due_minor(order: Order) -> int:
    return max(0, net_minor(order) - order.refund_pending_minor - payable_minor(order))


def refundable_minor(order: Order) -> int:
    return net_minor(order) - order.refund_pending_minor


def status(order: Order) -> Status:
    if order.cancel_reason:
        return "CANCELED"
    if is_returned(order):
        return "RETURNED"
    if is_delivered(order):
        return "DELIVERED"
    if is_shipped(order):
        return "SHIPPED"
    if _sum(order, "shipped"):
        return "PARTIALLY_SHIPPED"
    return "PAID" if order.was_paid else "PENDING"


def payment_status(order: Order) -> PaymentStatus:
    if order.captured_minor == 0:
        if authorized_minor(order):
            return "AUTHORIZED"
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
    if _sum(order, "returned"):
        return "RETURNED" if is_returned(order) else "PARTIALLY_RETURNED"
    if _sum(order, "delivered"):
        return "DELIVERED" if is_delivered(order) else "PARTIALLY_DELIVERED"
    if _sum(order, "shipped"):
        return "SHIPPED" if is_shipped(order) else "PARTIALLY_SHIPPED"
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
