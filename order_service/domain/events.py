"""The events of an order: facts, named in the past tense.

Each class is one stored type. Its name and `SCHEMA_VERSION` are data in the log and never change
meaning. To give a type a new shape, raise its version and add an upcaster (`log/upcasters.py`).
Amounts are minor units of the order's currency.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from order_service.domain.immutable import Stored
from order_service.domain.parts import (
    AuthorizationVoidReason,
    CancelReason,
    HoldReason,
    LineQuantity,
    NoteVisibility,
    OrderLine,
    PaymentSource,
    ReceivedQuantity,
    RefundCause,
    RefundReason,
    ReturnReason,
    ReversalKind,
    ShipmentVoidReason,
)

# --- placing and editing --------------------------------------------------------------------------


class OrderPlaced(Stored, frozen=True):
    """Version 1 has no line with a discount, share or tax: the shares
    follow from `discount_minor`. `tax_included`: the prices contain the taxes of the lines and of
    shipping. `prices_trusted`: prices and discounts come from the shop, not from its customer.

    `user_id`: None for a guest's order. `address_ref` (shipping), `billing_address_ref`,
    `contact_ref` and `text_ref` (a note) name texts.
    """

    SCHEMA_VERSION: ClassVar[int] = 2
    user_id: UUID | None
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_fee_minor: int
    discount_minor: int
    total_minor: int
    external_reference: str | None = None
    address_ref: UUID | None = None
    billing_address_ref: UUID | None = None
    contact_ref: UUID | None = None
    shipping_tax_minor: int = 0
    tax_included: bool = True
    prices_trusted: bool = True
    metadata: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    text_ref: UUID | None = None


class OrderLineAdded(Stored, frozen=True):
    """`total_minor`, here and below: the order's total after the event."""

    SCHEMA_VERSION: ClassVar[int] = 2
    line: OrderLine
    total_minor: int


class OrderLineQuantityChanged(Stored, frozen=True):
    """`discount_minor`, `share_minor`, `tax_minor`: those of the line after the event; None in
    version 1, which did not record them."""

    SCHEMA_VERSION: ClassVar[int] = 2
    line_id: int
    from_quantity: int
    to_quantity: int
    total_minor: int
    discount_minor: int | None = None
    share_minor: int | None = None
    tax_minor: int | None = None


class OrderLineRemoved(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    line_id: int
    total_minor: int


class OrderEdited(Stored, frozen=True):
    """`lines`: those that were changed or added, whole, as they are after the event; `removed`:
    line ids. The shop has edited the order, so its prices are the shop's from now on."""

    SCHEMA_VERSION: ClassVar[int] = 1
    lines: tuple[OrderLine, ...]
    removed: tuple[int, ...]
    shipping_fee_minor: int
    shipping_tax_minor: int
    discount_minor: int
    total_before_minor: int
    total_minor: int
    text_ref: UUID | None = None


class OrderHeld(Stored, frozen=True):
    """Nothing ships until the hold is released."""

    SCHEMA_VERSION: ClassVar[int] = 1
    hold_id: UUID
    reason: HoldReason
    text_ref: UUID | None = None


class OrderHoldReleased(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    hold_id: UUID
    text_ref: UUID | None = None


class ShippingAddressChanged(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    address_ref: UUID


class BillingAddressChanged(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    address_ref: UUID


class ContactChanged(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    contact_ref: UUID


class OrderMetadataChanged(Stored, frozen=True):
    """`set`: the entries that are new or have another value; `removed`: keys."""

    SCHEMA_VERSION: ClassVar[int] = 1
    set: Mapping[str, str]
    removed: tuple[str, ...]


class OrderTagged(Stored, frozen=True):
    """`tags`: all of them, after the event."""

    SCHEMA_VERSION: ClassVar[int] = 1
    tags: tuple[str, ...]


class OrderNoteAdded(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    note_id: UUID
    visibility: NoteVisibility
    text_ref: UUID


# --- payments -------------------------------------------------------------------------------------


class PaymentAuthorized(Stored, frozen=True):
    """`payment_id`: a new payment, or the payment whose capture was reported before this."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    method: str | None = None
    provider_reference: str | None = None
    expires_at: datetime | None = None
    source: PaymentSource = "manual"


class PaymentAuthorizationVoided(Stored, frozen=True):
    """The open amount of the authorization can no longer be captured."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    reason: AuthorizationVoidReason


class PaymentCaptured(Stored, frozen=True):
    """`payment_id`: a new payment, or the authorization of which this captures a part or all.
    `provider_reference`: the capture's own, or that of the authorization."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    source: PaymentSource
    provider_reference: str | None = None


class PaymentAuthorizationExpired(Stored, frozen=True):
    """The open amount of the authorization can no longer be captured."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID


class PaymentFailed(Stored, frozen=True):
    """`code`: the provider's error code. `closes`: nothing more can be captured of the
    authorization; in version 1 it stayed open."""

    SCHEMA_VERSION: ClassVar[int] = 2
    payment_id: UUID
    code: str
    closes: bool = True


class PaymentReversed(Stored, frozen=True):
    """The provider has taken captured money back."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    kind: ReversalKind
    provider_reference: str | None = None


class PaymentReversalUndone(Stored, frozen=True):
    """The provider has given reversed money again: a dispute was won."""

    SCHEMA_VERSION: ClassVar[int] = 1
    payment_id: UUID
    amount_minor: int
    provider_reference: str | None = None


class OrderPaid(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    total_minor: int
    captured_minor: int


# --- shipments ------------------------------------------------------------------------------------


class ShipmentDispatched(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    lines: tuple[LineQuantity, ...]
    dispatched_at: datetime
    carrier: str | None = None
    tracking_number: str | None = None


class ShipmentTrackingUpdated(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    carrier: str | None
    tracking_number: str | None


class ShipmentVoided(Stored, frozen=True):
    """The shipment never left, or will not arrive: its units are outstanding again."""

    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    reason: ShipmentVoidReason
    text_ref: UUID | None = None


class OrderShipped(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID


class ShipmentDelivered(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    shipment_id: UUID
    delivered_at: datetime


class OrderDelivered(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1


# --- cancellations and refunds --------------------------------------------------------------------


class OrderUnitsCanceled(Stored, frozen=True):
    """`shipping_minor`: what shipping costs no more, as the command said (version 2)."""

    SCHEMA_VERSION: ClassVar[int] = 2
    line_id: int
    quantity: int
    reason: CancelReason
    total_minor: int
    text_ref: UUID | None = None
    shipping_minor: int = 0


class OrderCanceled(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    reason: CancelReason
    previous_status: str
    text_ref: UUID | None = None


class RefundRequested(Stored, frozen=True):
    """`payment_id`: the captured payment that is paid back; None in events of version 0.1.0 where
    the order had several."""

    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    cause: RefundCause
    reason: RefundReason | CancelReason | ReturnReason
    payment_id: UUID | None = None
    text_ref: UUID | None = None


class RefundCompleted(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    provider_reference: str | None = None


class RefundFailed(Stored, frozen=True):
    """`code`: the provider's error code."""

    SCHEMA_VERSION: ClassVar[int] = 1
    refund_id: UUID
    amount_minor: int
    code: str


# --- returns --------------------------------------------------------------------------------------


class ReturnRequested(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID
    lines: tuple[LineQuantity, ...]
    reason: ReturnReason
    text_ref: UUID | None = None


class ReturnApproved(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID


class ReturnRejected(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID
    text_ref: UUID | None = None


class ReturnCanceled(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1
    return_id: UUID


class ReturnReceived(Stored, frozen=True):
    """`value_minor`: what the units were bought for; None in version 1, which did not say it.
    `shipping_minor`: the shipping fee that goes back with them, as the command said (version 3)."""

    SCHEMA_VERSION: ClassVar[int] = 3
    return_id: UUID
    lines: tuple[ReceivedQuantity, ...]
    value_minor: int | None
    shipping_minor: int = 0


class OrderReturned(Stored, frozen=True):
    SCHEMA_VERSION: ClassVar[int] = 1


OrderEvent = (
    OrderPlaced
    | OrderLineAdded
    | OrderLineQuantityChanged
    | OrderLineRemoved
    | OrderEdited
    | OrderHeld
    | OrderHoldReleased
    | ShippingAddressChanged
    | BillingAddressChanged
    | ContactChanged
    | OrderMetadataChanged
    | OrderTagged
    | OrderNoteAdded
    | PaymentAuthorized
    | PaymentAuthorizationVoided
    | PaymentCaptured
    | PaymentFailed
    | PaymentAuthorizationExpired
    | PaymentReversed
    | PaymentReversalUndone
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
