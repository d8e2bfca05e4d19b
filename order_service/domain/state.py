"""The state of an order: quantities, money, and the statuses derived from them. Pure.

Only quantities and money are facts. Every status is derived from them (the first rule that applies
wins), so no status can contradict the facts.

The classes have no slots: `evolve` copies an object by its `__dict__`, five times as fast as field
by field.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal
from unicodedata import normalize
from uuid import UUID

from order_service import limits
from order_service.domain.immutable import immutable
from order_service.domain.lines import LineState
from order_service.domain.parts import (
    CancelReason,
    HoldReason,
    LineQuantity,
    PaymentSource,
    RefundCause,
    ReturnReason,
)

LINES_MAX = limits.LINES_MAX
QUANTITY_MAX = 1_000_000
METADATA_MAX = limits.METADATA_MAX

Status = Literal[
    "PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED"
]
PaymentStatus = Literal[
    "DISPUTED",
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


@immutable
class Capture:
    amount_minor: int
    reference: str | None


@immutable
class Payment:
    """`authorized_minor`: 0 for a payment that was captured without an authorization;
    `open_minor`: what may still be captured of an authorization; `closed`: why nothing may.
    `refund_pending_minor` and `refunded_minor`: by refunds that name this payment."""

    payment_id: UUID
    authorized_minor: int
    open_minor: int
    captured_minor: int
    provider_reference: str | None
    source: PaymentSource | None = None
    method: str | None = None
    expires_at: datetime | None = None
    failure_code: str | None = None
    closed: Literal["voided", "expired", "failed"] | None = None
    captures: tuple[Capture, ...] = ()
    refund_pending_minor: int = 0
    refunded_minor: int = 0
    reversed_minor: int = 0

    @property
    def refundable_minor(self) -> int:
        """What is left of the captured money."""
        gone = self.refund_pending_minor + self.refunded_minor + self.reversed_minor
        return max(0, self.captured_minor - gone)


def identity(reference: str | None) -> str | None:
    """The form in which references are compared: NFC, without space around it."""
    return None if reference is None else normalize("NFC", reference).strip()


@immutable
class Shipment:
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    dispatched_at: datetime
    carrier: str | None
    tracking_number: str | None
    delivered_at: datetime | None = None
    voided: bool = False


@immutable
class Refund:
    refund_id: UUID
    amount_minor: int
    cause: RefundCause
    reason: str
    payment_id: UUID | None
    status: RefundStatus = "PENDING"
    provider_reference: str | None = None
    failure_code: str | None = None


@immutable
class Return:
    """`received`: units that have come back under this return, by line."""

    return_id: UUID
    lines: tuple[LineQuantity, ...]
    reason: ReturnReason
    status: ReturnStatus = "REQUESTED"
    received: Mapping[int, int] = field(default_factory=dict)

    def outstanding(self, line: LineQuantity) -> int:
        return line.quantity - self.received.get(line.line_id, 0)


@immutable
class Hold:
    hold_id: UUID
    reason: HoldReason
    released: bool = False


# What a provider has reported, by the identity of its reference: the payment and the amount.
Reported = Mapping[str, tuple[UUID, int]]


@immutable
class Order:
    """`total_minor` is what the last event that changed it has recorded; `agreed`: its lines have
    no prices. `discount_minor` is as given at first. `returned_minor`: what the units that came
    back were worth, with the shipping fee if it was given back (`shipping_returned`).
    `last_line_id`: highest number ever given to a line: none is used twice. `user_id` None: a
    guest's order."""

    user_id: UUID | None
    currency: str
    lines: Mapping[int, LineState]
    last_line_id: int
    shipping_fee_minor: int
    discount_minor: int
    total_minor: int
    agreed: bool
    external_reference: str | None
    address_ref: UUID | None = None
    shipping_tax_minor: int = 0
    tax_included: bool = True
    prices_trusted: bool = True
    billing_address_ref: UUID | None = None
    contact_ref: UUID | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    shipping_returned: bool = False
    payments: Mapping[UUID, Payment] = field(default_factory=dict)
    shipments: Mapping[UUID, Shipment] = field(default_factory=dict)
    refunds: Mapping[UUID, Refund] = field(default_factory=dict)
    returns: Mapping[UUID, Return] = field(default_factory=dict)
    returned_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    refund_pending_minor: int = 0
    reversed_minor: int = 0
    reversals: Reported = field(default_factory=dict)
    restorations: Reported = field(default_factory=dict)
    holds: Mapping[UUID, Hold] = field(default_factory=dict)
    was_paid: bool = False
    cancel_reason: CancelReason | None = None


# --- derived from the state -----------------------------------------------------------------------


@immutable
class Sums:
    """Sums over the lines. `active`: units ordered and not canceled."""

    active: int
    shipped: int
    delivered: int
    returned: int

    @property
    def is_shipped(self) -> bool:
        """There are active units, and all are shipped; `is_delivered`, `is_returned` likewise."""
        return 0 < self.active == self.shipped

    @property
    def is_delivered(self) -> bool:
        return 0 < self.active == self.delivered

    @property
    def is_returned(self) -> bool:
        return 0 < self.active == self.returned


def sums(order: Order) -> Sums:
    """Computed in one pass: all that depends on the lines is derived from these sums."""
    active = shipped = delivered = returned = 0
    for line, line_canceled, line_shipped, line_delivered, line_returned, _ in order.lines.values():
        active += line.quantity - line_canceled
        shipped += line_shipped
        delivered += line_delivered
        returned += line_returned
    return Sums(active, shipped, delivered, returned)


@immutable
class OrderSummary:
    """The statuses and balances of an order: what readers see and rules check."""

    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    total_minor: int
    authorized_minor: int
    amount_due_minor: int
    credit_due_minor: int
    units: int
    on_hold: bool


def summary(order: Order) -> OrderSummary:
    """All statuses and balances at once: each needs the same sums over the lines."""
    lines = sums(order)
    payable = _payable_minor(order)
    net = net_minor(order)
    return OrderSummary(
        _status(order, lines),
        _payment_status(order, payable),
        _fulfillment_status(order, lines),
        order.total_minor,
        authorized_minor(order),
        max(0, payable - net),
        max(0, net - order.refund_pending_minor - payable),
        lines.active,
        on_hold(order),
    )


def on_hold(order: Order) -> bool:
    """Whether a hold keeps the order from shipping."""
    if not order.holds or order.cancel_reason:
        return False
    return any(not hold.released for hold in order.holds.values())


def units(order: Order) -> int:
    """Active units: ordered and not canceled."""
    return sums(order).active


def authorized_minor(order: Order) -> int:
    """What may still be captured of authorizations."""
    return sum([payment.open_minor for payment in order.payments.values()])


def shipping_minor(order: Order) -> int:
    """What shipping costs: the fee, and its tax if the fee does not include it."""
    fee = order.shipping_fee_minor
    return fee if order.tax_included else fee + order.shipping_tax_minor


def is_free(order: Order) -> bool:
    """A total of 0 needs no payment, unless it comes from prices that a customer set and that
    are not confirmed by PAID."""
    return order.total_minor == 0 and (order.prices_trusted or order.was_paid)


def _payable_minor(order: Order) -> int:
    """What the customer owes as a whole: nothing for a canceled order, nor for what came back."""
    return 0 if order.cancel_reason else max(0, order.total_minor - order.returned_minor)


def net_minor(order: Order) -> int:
    return order.captured_minor - order.refunded_minor - order.reversed_minor


def amount_due_minor(order: Order) -> int:
    return summary(order).amount_due_minor


def credit_due_minor(order: Order) -> int:
    return summary(order).credit_due_minor


def refundable_minor(order: Order) -> int:
    return max(0, net_minor(order) - order.refund_pending_minor)


def status(order: Order) -> Status:
    return _status(order, sums(order))


def _status(order: Order, lines: Sums) -> Status:
    if order.cancel_reason:
        return "CANCELED"
    if not lines.shipped:
        return "PAID" if order.was_paid else "PENDING"
    if lines.is_returned:
        return "RETURNED"
    if lines.is_delivered:
        return "DELIVERED"
    return "SHIPPED" if lines.is_shipped else "PARTIALLY_SHIPPED"


def _payment_status(order: Order, payable: int) -> PaymentStatus:
    if order.reversed_minor and net_minor(order) < payable:
        return "DISPUTED"
    if order.captured_minor == 0:
        if authorized_minor(order):
            return "AUTHORIZED"
        return "PAID" if not order.cancel_reason and is_free(order) else "UNPAID"
    if order.refunded_minor >= order.captured_minor:
        return "REFUNDED"
    if order.refunded_minor > 0:
        return "PARTIALLY_REFUNDED"
    net = net_minor(order)
    if net > payable:
        return "OVERPAID"
    return "PAID" if net == payable else "PARTIALLY_PAID"


def _fulfillment_status(order: Order, lines: Sums) -> FulfillmentStatus:
    if order.cancel_reason:
        return "CANCELED"
    if lines.returned:
        return "RETURNED" if lines.is_returned else "PARTIALLY_RETURNED"
    if lines.delivered:
        return "DELIVERED" if lines.is_delivered else "PARTIALLY_DELIVERED"
    if lines.shipped:
        return "SHIPPED" if lines.is_shipped else "PARTIALLY_SHIPPED"
    return "UNFULFILLED"


# The statuses that `ChangeStatus` may set, from each present status.
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
    return transitions(summary(order))


def transitions(found: OrderSummary) -> tuple[Status, ...]:
    """The statuses that `ChangeStatus` may set now: nothing ships while money is due or a hold
    stands."""
    allowed = TRANSITIONS[found.status]
    if (found.amount_due_minor or found.on_hold) and "SHIPPED" in allowed:
        return tuple(target for target in allowed if target != "SHIPPED")
    return allowed
