"""What events and commands are made of: lines, units of lines, reasons."""

from collections.abc import Mapping
from typing import Literal

from order_service.domain.immutable import Stored

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
RefundCause = Literal["manual", "cancel", "return", "late_capture", "edit"]
# `self_service`: an owner set the order to PAID; no money is known to have moved.
PaymentSource = Literal["manual", "provider", "self_service"]
ReversalKind = Literal["BOUNCE", "CHARGEBACK"]
HoldReason = Literal["FRAUD_REVIEW", "PAYMENT_REVIEW", "AWAITING_STOCK", "ADDRESS_CHECK", "OTHER"]
NoteVisibility = Literal["public", "internal"]
ReturnCondition = Literal["SELLABLE", "DAMAGED"]


class OrderLine(Stored, frozen=True):
    """`unit_price_minor` is None on every line of an order with an agreed total; it counts parts of
    a minor unit, 10 to the power of `unit_price_scale` each, for a price finer than the currency.

    `discount_minor` was given for the line itself, `share_minor` is its share of the order's
    discount, `tax_minor` its tax as sent, each for all `quantity` units. `unit`: what one of
    `quantity` is, such as "g"; None: a piece.
    """

    line_id: int
    sku: str | None
    name: str | None
    quantity: int
    unit_price_minor: int | None
    attributes: Mapping[str, str] = {}
    unit: str | None = None
    unit_price_scale: int = 0
    discount_minor: int = 0
    share_minor: int = 0
    tax_minor: int = 0
    tax_rate: str | None = None
    tax_name: str | None = None


class LineQuantity(Stored, frozen=True):
    line_id: int
    quantity: int


class ReceivedQuantity(Stored, frozen=True):
    line_id: int
    quantity: int
    condition: ReturnCondition
