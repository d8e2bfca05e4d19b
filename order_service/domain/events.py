"""What can happen to an order: facts, in the past tense. May import the standard library only.

A class is one stored type; its name and `SCHEMA_VERSION` are data in the log and never change
meaning. To give a type a new shape, raise its version and add an upcaster (`log/upcasters.py`).
Amounts are minor units of the order's currency.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

CancelReason = Literal[
    "CUSTOMER_REQUEST",
    "PAYMENT_DECLINED",
    "FRAUD",
    "OUT_OF_STOCK",
    "STAFF_ERROR",
    "DUPLICATE",
    "EXPIRED",
    "OTHER",
]
RefundCause = Literal["manual", "cancel", "return", "late_capture"]
PaymentSource = Literal["manual", "provider"]


@dataclass(frozen=True, slots=True)
class OrderLine:
    """`unit_price_minor` is None on every line of an order with an agreed total."""

    line_id: int
    sku: str
    name: str | None
    quantity: int
    unit_price_minor: int | None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineQuantity:
    line_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    SCHEMA_VERSION: ClassVar[int] = 1
    user_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_fee_minor: int
    discount_minor: int
    total_minor: int
    external_reference: str | None = None
    address_ref: UUID | None = None


@dataclass(frozen=True, slots=True)
class PaymentCaptured:
    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    source: PaymentSource
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class OrderPaid:
    SCHEMA_VERSION: ClassVar[int] = 1
    total_minor: int
    captured_minor: int


@dataclass(frozen=True, slots=True)
class ShipmentDispatched:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    carrier: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class OrderShipped:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class ShipmentDelivered:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class OrderDelivered:
    SCHEMA_VERSION: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class OrderCanceled:
    SCHEMA_VERSION: ClassVar[int] = 1
    reason: CancelReason
    previous_status: str
    text_ref: UUID | None = None


@dataclass(frozen=True, slots=True)
class RefundRequested:
    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    cause: RefundCause
    reason: str
    payment_id: UUID | None = None


OrderEvent = (
    OrderPlaced
    | PaymentCaptured
    | OrderPaid
    | ShipmentDispatched
    | OrderShipped
    | ShipmentDelivered
    | OrderDelivered
    | OrderCanceled
    | RefundRequested
)
