"""Every arm of the decider, accepted and refused."""

from uuid import UUID

import pytest

from order_service.domain import state as rules
from order_service.domain.commands import (
    CancelOrder,
    ConfirmDelivery,
    RecordPayment,
    Ship,
    TargetStatus,
)
from order_service.domain.events import (
    LineQuantity,
    OrderCanceled,
    OrderEvent,
    OrderLine,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PaymentCaptured,
    RefundRequested,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.errors import InvalidRequest, RuleViolation
from tests.examples import (
    AT,
    CAPTURED,
    DELIVERED,
    DELIVERED_SHIPMENT,
    DISPATCHED,
    INK,
    NEW_ID,
    PAID,
    PEN,
    PLACED,
    SHIPPED,
    USER,
    place,
    to_status,
)
from tests.given import given

PENDING = (PLACED,)
IS_PAID = (PLACED, CAPTURED, PAID)
IS_SHIPPED = (*IS_PAID, DISPATCHED, SHIPPED)
IS_DELIVERED = (*IS_SHIPPED, DELIVERED_SHIPMENT, DELIVERED)
CANCELED = OrderCanceled("CUSTOMER_REQUEST", "PENDING")
HALF = ShipmentDispatched(UUID(int=7), (LineQuantity(1, 2),), AT)


def test_an_order_is_placed_with_the_sum_of_its_lines() -> None:
    given().when(place(PEN, INK)).then(PLACED)


def test_a_total_that_agrees_with_the_lines_is_accepted() -> None:
    given().when(place(PEN, INK, total_price_minor=2498)).then(PLACED)


def test_a_total_that_differs_from_the_lines_is_refused() -> None:
    given().when(place(PEN, INK, total_price_minor=2499)).then_refused(
        InvalidRequest, "total-mismatch", expected="24.98"
    )


def test_lines_without_prices_take_the_agreed_total() -> None:
    line = OrderLine(1, "BOX", None, 3, None)

    given().when(place(line, total_price_minor=1000)).then(
        OrderPlaced(USER, "USD", (line,), 0, 0, 1000)
    )


def test_lines_without_prices_need_a_total() -> None:
    given().when(place(OrderLine(1, "BOX", None, 3, None))).then_refused(
        InvalidRequest, "validation"
    )


def test_some_lines_with_prices_and_some_without_are_refused() -> None:
    given().when(place(PEN, OrderLine(2, "BOX", None, 3, None))).then_refused(
        InvalidRequest, "validation"
    )


def test_a_sum_beyond_every_amount_is_refused() -> None:
    given().when(place(OrderLine(1, "GOLD", None, 100_000, 10**14))).then_refused(
        InvalidRequest, "validation"
    )


def test_an_order_of_nothing_to_pay_is_paid_at_once() -> None:
    gift = OrderLine(1, "GIFT", None, 1, 0)

    given().when(place(gift)).then(OrderPlaced(USER, "USD", (gift,), 0, 0, 0), OrderPaid(0, 0))


def test_payment_of_what_is_due_pays_the_order() -> None:
    given(PLACED).when(RecordPayment(NEW_ID, NEW_ID, None, "manual")).then(CAPTURED, PAID)


def test_payment_of_a_part_leaves_the_order_unpaid() -> None:
    given(PLACED).when(RecordPayment(NEW_ID, NEW_ID, 1000, "manual")).then(
        PaymentCaptured(NEW_ID, 1000, "manual")
    )


def test_the_last_part_pays_the_order() -> None:
    first = PaymentCaptured(UUID(int=1), 1000, "manual")

    given(PLACED, first).when(RecordPayment(NEW_ID, NEW_ID, None, "manual")).then(
        PaymentCaptured(NEW_ID, 1498, "manual"), PAID
    )


def test_payment_above_what_is_due_is_refused() -> None:
    given(PLACED).when(RecordPayment(NEW_ID, NEW_ID, 2499, "manual")).then_refused(
        InvalidRequest, "amount-exceeds-due", amount_due="24.98"
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_a_payment_of_nothing_is_refused(amount: int) -> None:
    given(PLACED).when(RecordPayment(NEW_ID, NEW_ID, amount, "provider")).then_refused(
        InvalidRequest, "validation"
    )


def test_payment_of_a_canceled_order_is_refused() -> None:
    given(PLACED, CANCELED).when(RecordPayment(NEW_ID, NEW_ID, None, "manual")).then_refused(
        RuleViolation, "invalid-transition"
    )


def test_shipping_everything_ships_the_order() -> None:
    given(*IS_PAID).when(Ship(NEW_ID, None, AT)).then(DISPATCHED, SHIPPED)


def test_shipping_a_part_does_not_ship_the_order() -> None:
    given(*IS_PAID).when(Ship(UUID(int=7), (LineQuantity(1, 2),), AT)).then(HALF)


def test_shipping_the_rest_ships_the_order() -> None:
    given(*IS_PAID, HALF).when(Ship(NEW_ID, None, AT)).then(
        ShipmentDispatched(NEW_ID, (LineQuantity(2, 1),), AT), OrderShipped(NEW_ID)
    )


def test_shipping_more_than_is_outstanding_is_refused() -> None:
    given(*IS_PAID, HALF).when(Ship(NEW_ID, (LineQuantity(1, 1),), AT)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=0
    )


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (LineQuantity(1, 0),),
        (LineQuantity(1, -1),),
        (LineQuantity(9, 0),),
        (LineQuantity(1, 1), LineQuantity(1, 2)),
    ],
)
def test_a_shipment_names_each_line_once_with_something_of_it(
    lines: tuple[LineQuantity, ...],
) -> None:
    given(*IS_PAID).when(Ship(NEW_ID, lines, AT)).then_refused(InvalidRequest, "validation")


def test_an_unpaid_order_is_not_shipped() -> None:
    given(PLACED).when(Ship(NEW_ID, None, AT)).then_refused(RuleViolation, "payment-required")


def test_a_shipped_order_is_not_shipped_again() -> None:
    given(*IS_SHIPPED).when(Ship(NEW_ID, None, AT)).then_refused(RuleViolation, "nothing-to-ship")


def test_delivery_of_every_shipment_delivers_the_order() -> None:
    given(*IS_SHIPPED).when(ConfirmDelivery(None, AT, AT)).then(DELIVERED_SHIPMENT, DELIVERED)


def test_delivery_of_the_first_of_two_shipments_does_not() -> None:
    given(*IS_PAID, HALF).when(ConfirmDelivery(UUID(int=7), AT, AT)).then(
        ShipmentDelivered(UUID(int=7), AT)
    )


def test_a_delivery_is_confirmed_once() -> None:
    given(*IS_DELIVERED).when(ConfirmDelivery(None, AT, AT)).then()


def test_an_unpaid_order_is_canceled_without_a_refund() -> None:
    given(PLACED).when(CancelOrder("FRAUD", NEW_ID)).then(OrderCanceled("FRAUD", "PENDING"))


def test_a_paid_order_is_canceled_with_a_refund_of_all() -> None:
    given(*IS_PAID).when(CancelOrder("FRAUD", NEW_ID)).then(
        OrderCanceled("FRAUD", "PAID"), RefundRequested(NEW_ID, 2498, "cancel", "FRAUD", NEW_ID)
    )


def test_a_canceled_order_is_canceled_once() -> None:
    given(PLACED, CANCELED).when(CancelOrder("FRAUD", NEW_ID)).then()


def test_a_shipped_order_is_not_canceled() -> None:
    given(*IS_SHIPPED).when(CancelOrder("FRAUD", NEW_ID)).then_refused(
        RuleViolation, "already-shipped"
    )


@pytest.mark.parametrize(
    ("events", "to", "expected"),
    [
        (PENDING, "PAID", (CAPTURED, PAID)),
        (PENDING, "CANCELED", (CANCELED,)),
        (IS_PAID, "SHIPPED", (DISPATCHED, SHIPPED)),
        (
            IS_PAID,
            "CANCELED",
            (
                OrderCanceled("CUSTOMER_REQUEST", "PAID"),
                RefundRequested(NEW_ID, 2498, "cancel", "CUSTOMER_REQUEST", NEW_ID),
            ),
        ),
        (
            (*IS_PAID, HALF),
            "SHIPPED",
            (ShipmentDispatched(NEW_ID, (LineQuantity(2, 1),), AT), OrderShipped(NEW_ID)),
        ),
        (IS_SHIPPED, "DELIVERED", (DELIVERED_SHIPMENT, DELIVERED)),
        (PENDING, "PENDING", ()),
        (IS_PAID, "PAID", ()),
        (IS_SHIPPED, "SHIPPED", ()),
        (IS_DELIVERED, "DELIVERED", ()),
        ((PLACED, CANCELED), "CANCELED", ()),
    ],
)
def test_a_status_is_reached_by_the_events_of_its_command(
    events: tuple[OrderEvent, ...], to: TargetStatus, expected: tuple[OrderEvent, ...]
) -> None:
    given(*events).when(to_status(to)).then(*expected)


@pytest.mark.parametrize(
    ("events", "to", "code"),
    [
        (PENDING, "SHIPPED", "payment-required"),
        (PENDING, "DELIVERED", "invalid-transition"),
        (IS_PAID, "PENDING", "invalid-transition"),
        (IS_PAID, "DELIVERED", "invalid-transition"),
        ((*IS_PAID, HALF), "PENDING", "invalid-transition"),
        ((*IS_PAID, HALF), "PAID", "invalid-transition"),
        ((*IS_PAID, HALF), "DELIVERED", "invalid-transition"),
        ((*IS_PAID, HALF), "CANCELED", "already-shipped"),
        (IS_SHIPPED, "PENDING", "invalid-transition"),
        (IS_SHIPPED, "PAID", "invalid-transition"),
        (IS_SHIPPED, "CANCELED", "already-shipped"),
        (IS_DELIVERED, "PENDING", "invalid-transition"),
        (IS_DELIVERED, "PAID", "invalid-transition"),
        (IS_DELIVERED, "SHIPPED", "invalid-transition"),
        (IS_DELIVERED, "CANCELED", "already-shipped"),
        ((PLACED, CANCELED), "PENDING", "invalid-transition"),
        ((PLACED, CANCELED), "PAID", "invalid-transition"),
        ((PLACED, CANCELED), "SHIPPED", "invalid-transition"),
        ((PLACED, CANCELED), "DELIVERED", "invalid-transition"),
    ],
)
def test_a_status_that_the_present_one_forbids_is_refused(
    events: tuple[OrderEvent, ...], to: TargetStatus, code: str
) -> None:
    given(*events).when(to_status(to)).then_refused(RuleViolation, code)


def test_a_refused_status_says_what_is_allowed() -> None:
    given(*IS_PAID).when(to_status("DELIVERED")).then_refused(
        RuleViolation,
        "invalid-transition",
        from_status="PAID",
        to_status="DELIVERED",
        allowed_transitions=["SHIPPED", "CANCELED"],
    )


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        (PENDING, ("PENDING", "UNPAID", "UNFULFILLED")),
        (IS_PAID, ("PAID", "PAID", "UNFULFILLED")),
        ((*IS_PAID, HALF), ("PARTIALLY_SHIPPED", "PAID", "PARTIALLY_SHIPPED")),
        (IS_SHIPPED, ("SHIPPED", "PAID", "SHIPPED")),
        (IS_DELIVERED, ("DELIVERED", "PAID", "DELIVERED")),
        ((PLACED, CANCELED), ("CANCELED", "UNPAID", "CANCELED")),
    ],
)
def test_statuses_follow_from_quantities_and_money(
    events: tuple[OrderEvent, ...], statuses: tuple[str, str, str]
) -> None:
    order = given(*events).order

    found = (rules.status(order), rules.payment_status(order), rules.fulfillment_status(order))

    assert found == statuses
