"""Refunds for returned units: what was paid for them."""

from uuid import UUID, uuid5

import pytest

from order_service.domain.commands import (
    ReceiveReturn,
)
from order_service.domain.events import (
    OrderPaid,
    OrderPlaced,
    OrderReturned,
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
    DELIVERED_SHIPMENT,
    DISPATCHED,
    INK,
    NEW_ID,
    PEN,
    PLACED,
    SHIPPED,
    USER,
)
from tests.support.log.given import given
from tests.support.log.lives import (
    AGREED,
    EVERYTHING,
    EVERYTHING_BACK,
    IS_SENT_BACK,
    REFUND,
    RETURN,
    Events,
)
from tests.support.values import replace

APPROVED = ReturnApproved(RETURN)


def refund(amount: int, payment_id: UUID | None = NEW_ID) -> RefundRequested:
    return RefundRequested(REFUND, amount, "return", "DAMAGED", payment_id)


def delivered(placed: OrderPlaced, paid: int) -> Events:
    lines = tuple(LineQuantity(line.line_id, line.quantity) for line in placed.lines)
    return (
        placed,
        PaymentCaptured(NEW_ID, paid, "manual"),
        OrderPaid(placed.total_minor, paid),
        ShipmentDispatched(NEW_ID, lines, AT),
        SHIPPED,
        DELIVERED_SHIPMENT,
    )


def approved(*lines: LineQuantity) -> Events:
    return (ReturnRequested(RETURN, lines, "DAMAGED"), APPROVED)


# 30.00 + 5.00 - 1.00: the pens' share of the discount is 0.86, the ink's 0.14.
DISCOUNTED = delivered(
    OrderPlaced(USER, "USD", (OrderLine(1, "PEN", None, 3, 1000), INK), 700, 100, 4100), 4100
)


@pytest.mark.parametrize(
    ("back", "line_id", "amount"),
    [((), 1, 971), ((971,), 1, 972), ((971, 972), 1, 971), ((971, 972, 971), 2, 486), ((), 2, 486)],
)
def test_the_refund_of_returned_units_is_reduced_by_their_share_of_the_discount(
    back: tuple[int, ...], line_id: int, amount: int
) -> None:
    """9.71 + 9.72 + 9.71 + 4.86 = 34.00, the price of the goods; shipping is not refunded."""
    received = [ReturnReceived(RETURN, (ReceivedQuantity(1, 1, "SELLABLE"),), v) for v in back]
    lines = (ReceivedQuantity(line_id, 1, "SELLABLE"),)

    last = (OrderReturned(),) if len(back) == 3 else ()
    given(*DISCOUNTED, *approved(LineQuantity(1, 3), LineQuantity(2, 1)), *received).when(
        ReceiveReturn(RETURN, lines, REFUND)
    ).then(ReturnReceived(RETURN, lines, amount), refund(amount), *last)


def test_a_discount_above_the_goods_leaves_nothing_to_refund() -> None:
    free = delivered(OrderPlaced(USER, "USD", (PEN, INK), 1000, 2600, 898), 898)
    lines = (ReceivedQuantity(1, 2, "SELLABLE"),)

    given(*free, *approved(LineQuantity(1, 2))).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, lines, 0)
    )


def test_a_return_refunds_no_more_than_the_refundable_amount() -> None:
    earlier_refund = RefundRequested(UUID(int=70), 2000, "manual", "GOODWILL", NEW_ID)

    given(*IS_SENT_BACK, earlier_refund).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, EVERYTHING_BACK, 2498), refund(498), OrderReturned()
    )


def test_a_return_of_unpaid_units_refunds_nothing() -> None:
    unpaid: Events = (PLACED, DISPATCHED, SHIPPED, DELIVERED_SHIPMENT)

    given(*unpaid, *approved(*EVERYTHING)).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, EVERYTHING_BACK, 2498), OrderReturned()
    )


def test_several_payments_are_paid_back_newest_first_with_a_refund_each() -> None:
    paid_twice = (*IS_SENT_BACK, PaymentCaptured(UUID(int=51), 100, "provider"))

    given(*paid_twice).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, EVERYTHING_BACK, 2498),
        replace(refund(100), payment_id=UUID(int=51)),
        replace(refund(2398), refund_id=uuid5(REFUND, "1")),
        OrderReturned(),
    )


def test_an_agreed_total_is_refunded_with_the_last_unit() -> None:
    life: Events = (*delivered(AGREED, 1000), *approved(LineQuantity(1, 3)))
    two = (ReceivedQuantity(1, 2, "SELLABLE"),)
    third = (ReceivedQuantity(1, 1, "SELLABLE"),)

    given(*life).when(ReceiveReturn(RETURN, two, REFUND)).then(ReturnReceived(RETURN, two, 0))
    given(*life, ReturnReceived(RETURN, two, 0)).when(ReceiveReturn(RETURN, third, REFUND)).then(
        ReturnReceived(RETURN, third, 1000), refund(1000), OrderReturned()
    )
