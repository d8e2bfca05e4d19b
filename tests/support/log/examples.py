"""Literal values that tests share: a customer, lines, and the events of one order's life."""

from datetime import UTC, datetime
from uuid import UUID

from order_service.domain.commands import ChangeStatus, PlaceOrder, TargetStatus
from order_service.domain.events import (
    OrderDelivered,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PaymentCaptured,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.domain.parts import CancelReason, LineQuantity, OrderLine
from order_service.log.codec import Metadata

USER = UUID("00000000-0000-7000-8000-00000000000a")
NEW_ID = UUID("00000000-0000-7000-8000-0000000000f1")
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BY_USER = Metadata("user", USER)

PEN = OrderLine(1, "PEN", "Pen", 2, 999)
INK = OrderLine(2, "INK", None, 1, 500)

PLACED = OrderPlaced(USER, "USD", (PEN, INK), 0, 0, 2498)
CAPTURED = PaymentCaptured(NEW_ID, 2498, "manual")
PAID = OrderPaid(2498, 2498)
DISPATCHED = ShipmentDispatched(NEW_ID, (LineQuantity(1, 2), LineQuantity(2, 1)), AT)
SHIPPED = OrderShipped(NEW_ID)
DELIVERED_SHIPMENT = ShipmentDelivered(NEW_ID, AT)
DELIVERED = OrderDelivered()


def placing(
    *lines: OrderLine, total_price_minor: int | None = None, reference: str | None = None
) -> PlaceOrder:
    return PlaceOrder(USER, "USD", lines or (PEN, INK), total_price_minor, reference)


def to_status(to: TargetStatus, reason: CancelReason = "CUSTOMER_REQUEST") -> ChangeStatus:
    return ChangeStatus(to, NEW_ID, AT, reason)
