"""What can be asked of an order, in the imperative.

Ids and the time `at` arrive as fields: the decider makes up nothing. Fields that may turn out not
to be needed (`refund_id` of a cancellation without money) are given all the same. Amounts are minor
units of the order's currency.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from order_service.domain.events import (
    AuthorizationVoidReason,
    CancelReason,
    LineQuantity,
    NoteVisibility,
    OrderLine,
    PaymentSource,
    ReceivedQuantity,
    RefundReason,
    ReturnReason,
    ShipmentVoidReason,
)
from order_service.domain.immutable import immutable

TargetStatus = Literal["PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED"]

# --- placing and editing --------------------------------------------------------------------------


@immutable
class PlaceOrder:
    """Either every line has a price, or none has and `total_price_minor` is the agreed total."""

    user_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]
    total_price_minor: int | None
    external_reference: str | None = None
    shipping_fee_minor: int = 0
    discount_minor: int = 0
    address_ref: UUID | None = None


@immutable
class AddLine:
    sku: str
    name: str | None
    quantity: int
    unit_price_minor: int | None
    attributes: Mapping[str, str] = field(default_factory=dict)


@immutable
class ChangeLineQuantity:
    line_id: int
    quantity: int


@immutable
class RemoveLine:
    line_id: int


@immutable
class ChangeShippingAddress:
    address_ref: UUID


@immutable
class AddNote:
    note_id: UUID
    visibility: NoteVisibility
    text_ref: UUID


# --- payments -------------------------------------------------------------------------------------


@immutable
class AuthorizePayment:
    """`amount_minor` None: whatever is due."""

    payment_id: UUID
    amount_minor: int | None
    method: str | None = None
    provider_reference: str | None = None
    expires_at: datetime | None = None


@immutable
class RecordPayment:
    """`amount_minor` None: whatever is due, or was authorized under the reference."""

    payment_id: UUID
    refund_id: UUID
    amount_minor: int | None
    source: PaymentSource
    provider_reference: str | None = None


@immutable
class CapturePayment:
    """`amount_minor` None: whatever is open of the authorization."""

    payment_id: UUID
    amount_minor: int | None
    at: datetime


@immutable
class VoidAuthorization:
    payment_id: UUID
    reason: AuthorizationVoidReason


@immutable
class RecordPaymentFailure:
    payment_id: UUID
    code: str


# --- shipments ------------------------------------------------------------------------------------


@immutable
class Ship:
    """`lines` None: everything outstanding. `allow_unpaid`: the shop ships before it is paid."""

    shipment_id: UUID
    lines: tuple[LineQuantity, ...] | None
    at: datetime
    carrier: str | None = None
    tracking_number: str | None = None
    allow_unpaid: bool = False


@immutable
class UpdateTracking:
    """None leaves what is known."""

    shipment_id: UUID
    carrier: str | None = None
    tracking_number: str | None = None


@immutable
class VoidShipment:
    shipment_id: UUID
    reason: ShipmentVoidReason
    text_ref: UUID | None = None


@immutable
class ConfirmDelivery:
    """`shipment_id` None: every shipment on its way. `delivered_at` None: now."""

    shipment_id: UUID | None
    delivered_at: datetime | None
    at: datetime


# --- cancellations and refunds --------------------------------------------------------------------


@immutable
class CancelUnits:
    line_id: int
    quantity: int
    reason: CancelReason
    refund_id: UUID
    text_ref: UUID | None = None


@immutable
class CancelOrder:
    reason: CancelReason
    refund_id: UUID
    text_ref: UUID | None = None


@immutable
class ExpireOrder:
    """Asked by a timer; by the time it is decided, somebody may have paid."""


@immutable
class RequestRefund:
    """`amount_minor` None: whatever can be given back."""

    refund_id: UUID
    amount_minor: int | None
    reason: RefundReason
    text_ref: UUID | None = None


@immutable
class SettleRefund:
    refund_id: UUID
    provider_reference: str | None = None


@immutable
class FailRefund:
    refund_id: UUID
    code: str


# --- returns --------------------------------------------------------------------------------------


@immutable
class RequestReturn:
    """`window`: how long after its delivery a unit may be sent back; None for staff, who may always
    take it."""

    return_id: UUID
    lines: tuple[LineQuantity, ...]
    reason: ReturnReason
    at: datetime
    window: timedelta | None = None
    text_ref: UUID | None = None


@immutable
class ApproveReturn:
    return_id: UUID


@immutable
class RejectReturn:
    return_id: UUID
    text_ref: UUID | None = None


@immutable
class CancelReturn:
    return_id: UUID


@immutable
class ReceiveReturn:
    """`lines` None: everything approved and not yet here, sellable."""

    return_id: UUID
    lines: tuple[ReceivedQuantity, ...] | None
    refund_id: UUID


# --- the shorthand --------------------------------------------------------------------------------


@immutable
class ChangeStatus:
    """The shorthand of `PATCH /orders/{id}/`: the one command that leads from the present status to
    `to`.

    `new_id` becomes the payment's, shipment's or refund's. The text is a cancellation's own, else a
    note beside what happens.
    """

    to: TargetStatus
    new_id: UUID
    at: datetime
    reason: CancelReason
    text_ref: UUID | None = None
    note_visibility: NoteVisibility = "public"
    tracking_number: str | None = None


OrderCommand = (
    PlaceOrder
    | AddLine
    | ChangeLineQuantity
    | RemoveLine
    | ChangeShippingAddress
    | AddNote
    | AuthorizePayment
    | RecordPayment
    | CapturePayment
    | VoidAuthorization
    | RecordPaymentFailure
    | Ship
    | UpdateTracking
    | VoidShipment
    | ConfirmDelivery
    | CancelUnits
    | CancelOrder
    | ExpireOrder
    | RequestRefund
    | SettleRefund
    | FailRefund
    | RequestReturn
    | ApproveReturn
    | RejectReturn
    | CancelReturn
    | ReceiveReturn
    | ChangeStatus
)
