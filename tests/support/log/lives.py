"""One order's life, stage by stage, as the events that lead to each of its statuses."""

from uuid import UUID

from order_service.domain.events import (
    OrderCanceled,
    OrderEvent,
    OrderPlaced,
    OrderReturned,
    PaymentAuthorized,
    PaymentCaptured,
    RefundRequested,
    ReturnApproved,
    ReturnReceived,
    ReturnRequested,
    ShipmentDispatched,
)
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from tests.support.log.examples import (
    AT,
    CAPTURED,
    DELIVERED,
    DELIVERED_SHIPMENT,
    DISPATCHED,
    NEW_ID,
    PAID,
    PLACED,
    SHIPPED,
    USER,
)

Events = tuple[OrderEvent, ...]

PAYMENT = UUID(int=5)
PARCEL = UUID(int=6)
REFUND = UUID(int=7)
RETURN = UUID(int=8)
TEXT = UUID(int=9)
UNKNOWN_ID = UUID(int=404)

AUTHORIZED = PaymentAuthorized(PAYMENT, 2498, "card", "auth-1")
PENS_SENT = ShipmentDispatched(PARCEL, (LineQuantity(1, 2),), AT)
CANCELED = OrderCanceled("CUSTOMER_REQUEST", "PENDING")
EVERYTHING = (LineQuantity(1, 2), LineQuantity(2, 1))
EVERYTHING_BACK = (ReceivedQuantity(1, 2, "SELLABLE"), ReceivedQuantity(2, 1, "SELLABLE"))

IS_PENDING: Events = (PLACED,)
IS_PAID: Events = (PLACED, CAPTURED, PAID)
IS_PARTIALLY_SHIPPED: Events = (*IS_PAID, PENS_SENT)
IS_SHIPPED: Events = (*IS_PAID, DISPATCHED, SHIPPED)
IS_DELIVERED: Events = (*IS_SHIPPED, DELIVERED_SHIPMENT, DELIVERED)
IS_SENT_BACK: Events = (
    *IS_DELIVERED,
    ReturnRequested(RETURN, EVERYTHING, "DAMAGED"),
    ReturnApproved(RETURN),
)
IS_RETURNED: Events = (
    *IS_SENT_BACK,
    ReturnReceived(RETURN, EVERYTHING_BACK, 2498),
    RefundRequested(REFUND, 2498, "return", "DAMAGED", NEW_ID),
    OrderReturned(),
)
IS_CANCELED: Events = (PLACED, CANCELED)

BOX = OrderLine(1, "BOX", None, 3, None)
AGREED = OrderPlaced(USER, "USD", (BOX,), 0, 0, 1000)


def paid_in(*amounts: int) -> Events:
    """So much captured, in payments 51, 52 and so on."""
    return tuple(
        PaymentCaptured(UUID(int=n), amount, "manual") for n, amount in enumerate(amounts, 51)
    )
