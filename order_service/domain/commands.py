"""The commands that an order accepts, named in the imperative.

Ids and the time `at` arrive as fields, because the decider generates neither. An id is always
given, even if the decision may not need it (`refund_id` of a cancellation without a refund).
Amounts are minor units of the order's currency.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from order_service.domain.immutable import immutable
from order_service.domain.parts import (
    AuthorizationVoidReason,
    CancelReason,
    HoldReason,
    LineQuantity,
    NoteVisibility,
    OrderLine,
    PaymentSource,
    ReceivedQuantity,
    RefundReason,
    ReturnReason,
    ReversalKind,
    ShipmentVoidReason,
)

TargetStatus = Literal["PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED"]

# --- placing and editing --------------------------------------------------------------------------


@immutable
class PlaceOrder:
    """Either every line has a price, or none has and `total_price_minor` is the agreed total. The
    decision fills in the lines' shares of `discount_minor`. `user_id` None: a guest orders."""

    user_id: UUID | None
    currency: str
    lines: tuple[OrderLine, ...]
    total_price_minor: int | None
    external_reference: str | None = None
    shipping_fee_minor: int = 0
    discount_minor: int = 0
    address_ref: UUID | None = None
    shipping_tax_minor: int = 0
    tax_included: bool = True
    prices_trusted: bool = True
    billing_address_ref: UUID | None = None
    contact_ref: UUID | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    text_ref: UUID | None = None


# Whose prices the order takes: staff's always; a customer's only where the shop accepts them.
PriceAuthority = Literal["trusted", "accepted", "refused"]


@immutable
class AddLine:
    """`line.line_id` is ignored: the decision gives the next one."""

    line: OrderLine
    prices: PriceAuthority = "trusted"


@immutable
class ChangeLineQuantity:
    line_id: int
    quantity: int
    prices: PriceAuthority = "trusted"


@immutable
class RemoveLine:
    line_id: int


@immutable
class LineEdit:
    """None keeps the present value."""

    line_id: int
    quantity: int | None = None
    unit_price_minor: int | None = None
    unit_price_scale: int = 0
    discount_minor: int | None = None
    tax_minor: int | None = None
    tax_rate: str | None = None
    tax_name: str | None = None


@immutable
class EditOrder:
    """`added`: their line ids are ignored. `discount_minor`: of the order. None keeps the present
    amount. `keep_credit`: a lower total is not refunded; else `reason` is the refund's."""

    refund_id: UUID
    added: tuple[OrderLine, ...] = ()
    changed: tuple[LineEdit, ...] = ()
    removed: tuple[int, ...] = ()
    shipping_fee_minor: int | None = None
    shipping_tax_minor: int | None = None
    discount_minor: int | None = None
    keep_credit: bool = False
    reason: RefundReason = "OTHER"
    text_ref: UUID | None = None


@immutable
class HoldOrder:
    hold_id: UUID
    reason: HoldReason
    text_ref: UUID | None = None


@immutable
class ReleaseHold:
    hold_id: UUID
    text_ref: UUID | None = None


@immutable
class ChangeShippingAddress:
    address_ref: UUID


@immutable
class ChangeBillingAddress:
    address_ref: UUID


@immutable
class ChangeContact:
    contact_ref: UUID


@immutable
class SetMetadata:
    """The values of keys; None removes the key. Other keys stay."""

    values: Mapping[str, str | None]


@immutable
class SetTags:
    tags: tuple[str, ...]


@immutable
class AddNote:
    note_id: UUID
    visibility: NoteVisibility
    text_ref: UUID


# --- payments -------------------------------------------------------------------------------------


@immutable
class AuthorizePayment:
    """`amount_minor` None: the amount due, less what other authorizations hold."""

    payment_id: UUID
    amount_minor: int | None
    at: datetime
    method: str | None = None
    provider_reference: str | None = None
    expires_at: datetime | None = None
    source: PaymentSource = "manual"


@immutable
class RecordPayment:
    """`provider_reference`: the capture's own, or, for all of an authorization, that of the
    authorization; `authorization_reference`: the authorization that it draws on. `amount_minor`
    None: all of that authorization, else the amount due."""

    payment_id: UUID
    refund_id: UUID
    amount_minor: int | None
    source: PaymentSource
    provider_reference: str | None = None
    authorization_reference: str | None = None


@immutable
class CapturePayment:
    """`amount_minor` None: the open amount of the authorization, at most the amount due."""

    payment_id: UUID
    amount_minor: int | None
    at: datetime


@immutable
class VoidAuthorization:
    """From a provider with the reason EXPIRED: the authorization has expired."""

    payment_id: UUID
    reason: AuthorizationVoidReason
    source: PaymentSource = "manual"


@immutable
class ExpireAuthorizations:
    """Sent by a timer. An event follows for each open authorization that has expired."""

    at: datetime


@immutable
class RecordPaymentFailure:
    payment_id: UUID
    code: str
    source: PaymentSource = "manual"


@immutable
class ReversePayment:
    """`amount_minor` None: all that is left of the payment."""

    payment_id: UUID
    amount_minor: int | None
    kind: ReversalKind
    provider_reference: str | None = None


@immutable
class RestorePayment:
    """`amount_minor` None: all that was reversed of the payment."""

    payment_id: UUID
    amount_minor: int | None
    provider_reference: str | None = None


# --- shipments ------------------------------------------------------------------------------------


@immutable
class Ship:
    """`lines` None: all outstanding units. `allow_unpaid`: the shop ships before payment."""

    shipment_id: UUID
    lines: tuple[LineQuantity, ...] | None
    at: datetime
    carrier: str | None = None
    tracking_number: str | None = None
    allow_unpaid: bool = False


@immutable
class UpdateTracking:
    """None keeps the present value."""

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
    """`shipment_id` None: every shipment in transit. `delivered_at` None: now."""

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
    refund_shipping: bool = False


@immutable
class CancelOrder:
    reason: CancelReason
    refund_id: UUID
    text_ref: UUID | None = None


@immutable
class ExpireOrder:
    """Sent by a timer. No events follow if the order has been paid or canceled since."""


@immutable
class RequestRefund:
    """`amount_minor` None: the refundable amount. `payment_id` None: the newest payments first.
    With the `source` provider, the provider has already paid it back."""

    refund_id: UUID
    amount_minor: int | None
    reason: RefundReason
    text_ref: UUID | None = None
    payment_id: UUID | None = None
    source: PaymentSource = "manual"
    provider_reference: str | None = None


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
    """`window`: how long after its delivery a unit may be returned; None: without limit (staff)."""

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
    """`lines` None: all approved units that are not yet received, as sellable. `refund_shipping`:
    the shipping fee goes back as well, unless it already has."""

    return_id: UUID
    lines: tuple[ReceivedQuantity, ...] | None
    refund_id: UUID
    refund_shipping: bool = False


# --- the shorthand --------------------------------------------------------------------------------


@immutable
class ChangeStatus:
    """The shorthand of `PATCH /orders/{id}/`: it stands for the one command that leads from the
    present status to `to`.

    `new_id` becomes the id of the payment, shipment or refund. `source` is that of a payment.
    `text_ref` is the cancellation's
    text if `to` is CANCELED, else a note on the order.
    """

    to: TargetStatus
    new_id: UUID
    at: datetime
    reason: CancelReason
    text_ref: UUID | None = None
    note_visibility: NoteVisibility = "public"
    tracking_number: str | None = None
    source: PaymentSource = "manual"


OrderCommand = (
    PlaceOrder
    | AddLine
    | ChangeLineQuantity
    | RemoveLine
    | EditOrder
    | HoldOrder
    | ReleaseHold
    | ChangeShippingAddress
    | ChangeBillingAddress
    | ChangeContact
    | SetMetadata
    | SetTags
    | AddNote
    | AuthorizePayment
    | RecordPayment
    | CapturePayment
    | VoidAuthorization
    | ExpireAuthorizations
    | RecordPaymentFailure
    | ReversePayment
    | RestorePayment
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
