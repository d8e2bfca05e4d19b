"""The events of an order: facts, named in the past tense.

Each class is one stored type. Its name and `SCHEMA_VERSION` are data in the log and never change
meaning. To give a type a new shape, raise its version and add an upcaster (`log/upcasters.py`).
Amounts are minor units of the order's currency.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from order_service.domain.immutable import immutable

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
ReturnReason = Literal["DAMAGED", "WRONG_ITEM", "NOT_AS_DESCRIBED", "NO_LONGER_NEEDED", "OTHER"]
# For refunds that staff request. A cancellation or a return passes its own reason to its refund.
RefundReason = Literal[
    "CUSTOMER_REQUEST",
    "DAMAGED",
    "WRONG_ITEM",
    "NOT_AS_DESCRIBED",
    "LATE_DELIVERY",
    "OVERPAYMENT",
    "GOODWILL",
    "STAFF_ERROR",
    "OTHER",
]
AuthorizationVoidReason = Literal[
    "ORDER_CANCELED", "CUSTOMER_REQUEST", "EXPIRED", "STAFF_ERROR", "OTHER"
]
ShipmentVoidReason = Literal["NOT_HANDED_OVER", "LOST", "WRONG_LABEL", "STAFF_ERROR", "OTHER"]
RefundCause = Literal["manual", "cancel", "return", "late_capture"]
PaymentSource = Literal["manual", "provider"]
NoteVisibility = Literal["public", "internal"]
ReturnCondition = Literal["SELLABLE", "DAMAGED"]


@immutable
class OrderLine:
    """`unit_price_minor` is None on every line of an order with an agreed total."""

    line_id: int
    sku: str
    name: str | None
    quantity: int
    unit_price_minor: int | None
    attributes: Mapping[str, str] = field(default_factory=dict)


@immutable
class LineQuantity:
    line_id: int
    quantity: int


@immutable
class ReceivedQuantity:
    line_id: int
    quantity: int
    condition: ReturnCondition


# --- placing and editing --------------------------------------------------------------------------


@immutable
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


@immutable
class OrderLineAdded:
    """`total_minor`, here and below: the order's total after the event."""

    SCHEMA_VERSION: ClassVar[int] = 1
    line: OrderLine
    total_minor: int


@immutable
class OrderLineQuantityChanged:
    SCHEMA_VERSION: ClassVar[int] = 1
    line_id: int
    from_quantity: int
    to_quantity: int
    total_minor: int


@immutable
class OrderLineRemoved:
    SCHEMA_VERSION: ClassVar[int] = 1
    line_id: int
    total_minor: int


@immutable
class ShippingAddressChanged:
    SCHEMA_VERSION: ClassVar[int] = 1
    address_ref: UUID


@immutable
class OrderNoteAdded:
    SCHEMA_VERSION: ClassVar[int] = 1
    note_id: UUID
    visibility: NoteVisibility
    text_ref: UUID


# --- payments -------------------------------------------------------------------------------------


@immutable
class PaymentAuthorized:
    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    method: str | None = None
    provider_reference: str | None = None
    expires_at: datetime | None = None


@immutable
class PaymentAuthorizationVoided:
    """The open amount of the authorization can no longer be captured."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    reason: AuthorizationVoidReason


@immutable
class PaymentCaptured:
    """`payment_id`: a new payment, or the authorization of which this captures a part or all."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    source: PaymentSource
    provider_reference: str | None = None


@immutable
class PaymentFailed:
    """`code`: the provider's error code."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    code: str


@immutable
class OrderPaid:
    SCHEMA_VERSION: ClassVar[int] = 1
    total_minor: int
    captured_minor: int


# --- shipments ------------------------------------------------------------------------------------


@immutable
class ShipmentDispatched:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    dispatched_at: datetime
    carrier: str | None = None
    tracking_number: str | None = None


@immutable
class ShipmentTrackingUpdated:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    carrier: str | None
    tracking_number: str | None


@immutable
class ShipmentVoided:
    """The shipment never left, or will not arrive: its units are outstanding again."""

    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    reason: ShipmentVoidReason
    text_ref: UUID | None = None


@immutable
class OrderShipped:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID


@immutable
class ShipmentDelivered:
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    delivered_at: datetime


@immutable
class OrderDelivered:
    SCHEMA_VERSION: ClassVar[int] = 1


# --- cancellations and refunds --------------------------------------------------------------------


@immutable
class OrderUnitsCanceled:
    SCHEMA_VERSION: ClassVar[int] = 1
    line_id: int
    quantity: int
    reason: CancelReason
    total_minor: int
    text_ref: UUID | None = None


@immutable
class OrderCanceled:
    SCHEMA_VERSION: ClassVar[int] = 1
    reason: CancelReason
    previous_status: str
    text_ref: UUID | None = None


@immutable
class RefundRequested:
    """`payment_id`: the order's only captured payment; None if there are several."""

    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    cause: RefundCause
    reason: RefundReason | CancelReason | ReturnReason
    payment_id: UUID | None = None
    text_ref: UUID | None = None


@immutable
class RefundCompleted:
    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    provider_reference: str | None = None


@immutable
class RefundFailed:
    """`code`: the provider's error code."""

    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    code: str


# --- returns --------------------------------------------------------------------------------------


@immutable
class ReturnRequested:
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID
    lines: tuple[LineQuantity, ...]
    reason: ReturnReason
    text_ref: UUID | None = None


@immutable
class ReturnApproved:
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID


@immutable
class ReturnRejected:
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID
    text_ref: UUID | None = None


@immutable
class ReturnCanceled:
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID


@immutable
class ReturnReceived:
    """`value_minor`: what the units were bought for; None in version 1, which did not say it."""

    SCHEMA_VERSION: ClassVar[int] = 2
    return_id: UUID
    lines: tuple[ReceivedQuantity, ...]
    value_minor: int | None


@immutable
class OrderReturned:
    SCHEMA_VERSION: ClassVar[int] = 1


OrderEvent = (
    OrderPlaced
    | OrderLineAdded
    | OrderLineQuantityChanged
    | OrderLineRemoved
    | ShippingAddressChanged
    | OrderNoteAdded
    | PaymentAuthorized
    | PaymentAuthorizationVoided
    | PaymentCaptured
    | PaymentFailed
    | OrderPaid
    | ShipmentDispatched
    | ShipmentTrackingUpdated
    | ShipmentVoided
    | OrderShipped
    | ShipmentDelivered
    | OrderDelivered
    | OrderUnitsCanceled
    | OrderCanceled
    | RefundRequested
    | RefundCompleted
    | RefundFailed
    | ReturnRequested
    | ReturnApproved
    | ReturnRejected
    | ReturnCanceled
    | ReturnReceived
    | OrderReturned
)
