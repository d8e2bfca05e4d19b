"""What can be asked of an order, in the imperative. May import the standard library and events.

Ids and the time `at` arrive as fields: the decider makes up nothing. Fields that may turn out not
to be needed (`refund_id` of a cancellation without money) are given all the same.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from order_service.domain.events import CancelReason, LineQuantity, OrderLine, PaymentSource

TargetStatus = Literal["PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED"]


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Either every line has a price, or none has and `total_price_minor` is the agreed total."""

    user_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]
    total_price_minor: int | None
    external_reference: str | None = None
    shipping_fee_minor: int = 0
    discount_minor: int = 0


@dataclass(frozen=True, slots=True)
class RecordPayment:
    """`amount_minor` None: whatever is due."""

    payment_id: UUID
    amount_minor: int | None
    source: PaymentSource
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Ship:
    """`lines` None: everything outstanding."""

    shipment_id: UUID
    lines: tuple[LineQuantity, ...] | None
    carrier: str | None = None
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class ConfirmDelivery:
    """`shipment_id` None: every shipment on its way."""

    shipment_id: UUID | None
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class CancelOrder:
    reason: CancelReason
    refund_id: UUID
    text_ref: UUID | None = None


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """The shorthand of `PATCH /orders/{id}/`: the one command that leads from the present status to
    `to`.

    `new_id` becomes the payment's, shipment's or refund's.
    """

    to: TargetStatus
    new_id: UUID
    at: datetime
    reason: CancelReason
    text_ref: UUID | None = None
    tracking_number: str | None = None


OrderCommand = PlaceOrder | RecordPayment | Ship | ConfirmDelivery | CancelOrder | ChangeStatus
