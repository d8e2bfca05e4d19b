"""Cancellations of units, of an order and by expiry, with refunds of what is no longer owed."""

from uuid import UUID, uuid5

import pytest

from order_service.domain.commands import CancelOrder, CancelUnits, ExpireOrder
from order_service.domain.events import (
    OrderCanceled,
    OrderDelivered,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
    ReturnApproved,
    ReturnReceived,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentVoided,
)
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import AT, INK, NEW_ID, PAID, PEN, PLACED, USER
from tests.support.log.given import given
from tests.support.log.lives import (
    AGREED,
    AUTHORIZED,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_RETURNED,
    IS_SHIPPED,
    PARCEL,
    PAYMENT,
    REFUND,
    RETURN,
    TEXT,
    Events,
    paid_in,
)
from tests.support.values import replace

VOIDED = PaymentAuthorizationVoided(PAYMENT, "ORDER_CANCELED")
ONE_PEN = CancelUnits(1, 1, "OUT_OF_STOCK", REFUND)
THE_INK = CancelUnits(2, 1, "OUT_OF_STOCK", REFUND)
PEN_CANCELED = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1499)
INK_CANCELED = OrderUnitsCanceled(2, 1, "OUT_OF_STOCK", 1998)


def refund(amount: int, payment_id: UUID | None = NEW_ID) -> RefundRequested:
    return RefundRequested(REFUND, amount, "cancel", "OUT_OF_STOCK", payment_id)


# --- of an order ----------------------------------------------------------------------------------


def test_an_unpaid_order_is_canceled_without_a_refund() -> None:
    given(PLACED).when(CancelOrder("OTHER", REFUND, TEXT)).then(
        OrderCanceled("OTHER", "PENDING", TEXT)
    )


def test_a_paid_order_is_canceled_with_a_full_refund() -> None:
    given(*IS_PAID).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PAID"), refund(2498)
    )


def test_an_agreed_total_is_refunded_in_full() -> None:
    paid = (AGREED, PaymentCaptured(NEW_ID, 1000, "manual"), OrderPaid(1000, 1000))

    given(*paid).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PAID"), refund(1000)
    )


def test_several_payments_are_paid_back_newest_first_with_a_refund_each() -> None:
    first, second = paid_in(1000, 1498)
    given(PLACED, first, second, PAID).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PAID"),
        refund(1498, second.payment_id),
        replace(refund(1000, first.payment_id), refund_id=uuid5(REFUND, "1")),
    )


def test_a_cancellation_voids_authorizations_before_it_refunds_captures() -> None:
    more = PaymentAuthorized(NEW_ID, 1)
    part = PaymentCaptured(PAYMENT, 1000, "manual", "auth-1")

    given(PLACED, AUTHORIZED, more, part).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PENDING"),
        VOIDED,
        PaymentAuthorizationVoided(NEW_ID, "ORDER_CANCELED"),
        refund(1000, PAYMENT),
    )


@pytest.mark.parametrize(
    ("since", "amount"),
    [
        ((), 1498),
        ((RefundCompleted(UUID(int=70), 1000),), 1498),
        ((RefundFailed(UUID(int=70), 1000, "closed"),), 2498),
    ],
    ids=["pending", "completed", "failed"],
)
def test_a_cancellation_does_not_refund_what_is_refunded_already(
    since: Events, amount: int
) -> None:
    earlier_refund = RefundRequested(UUID(int=70), 1000, "manual", "GOODWILL", NEW_ID)

    given(*IS_PAID, earlier_refund, *since).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PAID"), refund(amount)
    )


def test_a_canceled_order_is_canceled_once() -> None:
    given(*IS_CANCELED).when(CancelOrder("FRAUD", REFUND)).then()


@pytest.mark.parametrize("events", [IS_PARTIALLY_SHIPPED, IS_SHIPPED, IS_DELIVERED, IS_RETURNED])
def test_a_shipped_order_cannot_be_canceled(events: Events) -> None:
    given(*events).when(CancelOrder("FRAUD", REFUND)).then_refused(RuleViolation, "already-shipped")


def test_an_order_with_a_voided_shipment_can_be_canceled() -> None:
    voided = ShipmentVoided(PARCEL, "LOST")

    given(*IS_PARTIALLY_SHIPPED, voided).when(CancelOrder("OUT_OF_STOCK", REFUND)).then(
        OrderCanceled("OUT_OF_STOCK", "PAID"), refund(2498)
    )


# --- of units -------------------------------------------------------------------------------------


def test_units_of_an_unpaid_order_are_canceled_with_the_new_total() -> None:
    given(PLACED).when(replace(ONE_PEN, text_ref=TEXT)).then(replace(PEN_CANCELED, text_ref=TEXT))


def test_units_of_a_paid_order_are_canceled_with_a_refund() -> None:
    given(*IS_PAID).when(ONE_PEN).then(PEN_CANCELED, refund(999))


def test_canceling_units_of_an_overpaid_order_leaves_the_credit() -> None:
    overpaid: Events = (PLACED, PaymentCaptured(NEW_ID, 3000, "provider"), OrderPaid(2498, 3000))

    given(*overpaid).when(ONE_PEN).then(PEN_CANCELED, refund(999))


@pytest.mark.parametrize(
    ("captured", "then"),
    [
        (1498, ()),
        (1499, (OrderPaid(1499, 1499),)),
        (1500, (OrderPaid(1499, 1500), refund(1, UUID(int=51)))),
    ],
)
def test_canceling_units_completes_the_payment_of_a_partly_paid_order(
    captured: int, then: Events
) -> None:
    given(PLACED, *paid_in(captured)).when(ONE_PEN).then(PEN_CANCELED, *then)


def test_an_earlier_goodwill_refund_does_not_lower_the_refund_of_canceled_units() -> None:
    goodwill = RefundRequested(UUID(int=70), 500, "manual", "GOODWILL", NEW_ID)

    given(*IS_PAID, goodwill).when(ONE_PEN).then(PEN_CANCELED, refund(999))


TWO_FOR_ONE = OrderPlaced(USER, "USD", (OrderLine(1, "A", None, 2, 1000),), 0, 1000, 1000)
TWO_LINES = OrderPlaced(
    USER,
    "USD",
    (OrderLine(1, "A", None, 1, 1000), OrderLine(2, "B", None, 1, 9000)),
    *(0, 3000, 7000),
)
FREE = OrderPlaced(USER, "USD", (PEN, INK), 1000, 2600, 898)


@pytest.mark.parametrize(
    ("placed", "line_id", "total", "given_back"),
    [(TWO_FOR_ONE, 1, 500, 500), (TWO_LINES, 2, 700, 6300), (FREE, 1, 898, 0)],
    ids=["of one line", "of two lines", "above the goods"],
)
def test_canceled_units_take_their_share_of_the_discount_along(
    placed: OrderPlaced, line_id: int, total: int, given_back: int
) -> None:
    captured = PaymentCaptured(NEW_ID, placed.total_minor, "manual")
    paid = OrderPaid(placed.total_minor, placed.total_minor)
    back = (refund(given_back),) if given_back else ()

    given(placed, captured, paid).when(CancelUnits(line_id, 1, "OUT_OF_STOCK", REFUND)).then(
        OrderUnitsCanceled(line_id, 1, "OUT_OF_STOCK", total), *back
    )


# 29.00 for three: what is left of them is worth 19.33, 9.67 and nothing.
THREE = OrderPlaced(USER, "USD", (OrderLine(1, "A", None, 3, 1000),), 0, 100, 2900)
PAID_FOR_THREE: Events = (THREE, PaymentCaptured(NEW_ID, 2900, "manual"), OrderPaid(2900, 2900))


def test_units_are_worth_the_same_in_whatever_portions_they_are_canceled() -> None:
    first = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1933)
    second = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 967)
    both = OrderUnitsCanceled(1, 2, "OUT_OF_STOCK", 967)
    two = CancelUnits(1, 2, "OUT_OF_STOCK", REFUND)

    given(*PAID_FOR_THREE).when(two).then(both, refund(1933))
    given(*PAID_FOR_THREE).when(ONE_PEN).then(first, refund(967))
    given(*PAID_FOR_THREE, first, refund(967)).when(ONE_PEN).then(second, refund(966))


def test_units_are_worth_the_same_whether_others_were_returned_before_or_canceled() -> None:
    """Two are kept after the return, one after the cancellation: 19.33 - 9.67."""
    back = ReturnReceived(RETURN, (ReceivedQuantity(1, 1, "SELLABLE"),), 967)
    sent: Events = (
        ShipmentDispatched(PARCEL, (LineQuantity(1, 1),), AT),
        ShipmentDelivered(PARCEL, AT),
        ReturnRequested(RETURN, (LineQuantity(1, 1),), "DAMAGED"),
        ReturnApproved(RETURN),
    )

    given(*PAID_FOR_THREE, *sent, back).when(ONE_PEN).then(
        OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1933), refund(966)
    )


PENS_BACK: Events = (
    *IS_PARTIALLY_SHIPPED,
    ShipmentDelivered(PARCEL, AT),
    ReturnRequested(RETURN, (LineQuantity(1, 2),), "DAMAGED"),
    ReturnApproved(RETURN),
    ReturnReceived(RETURN, (ReceivedQuantity(1, 2, "SELLABLE"),), 1998),
)


@pytest.mark.parametrize(
    ("events", "milestones"),
    [
        (IS_PARTIALLY_SHIPPED, ()),
        ((*IS_PARTIALLY_SHIPPED, ShipmentDelivered(PARCEL, AT)), (OrderDelivered(),)),
        (PENS_BACK, (OrderDelivered(), OrderReturned())),
    ],
    ids=["shipped", "delivered", "returned"],
)
def test_canceling_the_outstanding_units_completes_the_milestones_of_the_others(
    events: Events, milestones: Events
) -> None:
    given(*events).when(THE_INK).then(INK_CANCELED, refund(500), OrderShipped(PARCEL), *milestones)


def test_canceling_units_of_a_voided_shipment_ships_the_order_again() -> None:
    again = UUID(int=60)
    life: Events = (
        *IS_PARTIALLY_SHIPPED,
        ShipmentDispatched(again, (LineQuantity(2, 1),), AT),
        OrderShipped(again),
        ShipmentVoided(again, "LOST"),
    )

    given(*life).when(THE_INK).then(INK_CANCELED, refund(500), OrderShipped(PARCEL))


def test_canceling_the_last_units_cancels_the_order() -> None:
    given(PLACED, OrderUnitsCanceled(1, 2, "OUT_OF_STOCK", 500)).when(
        replace(THE_INK, text_ref=TEXT)
    ).then(
        OrderUnitsCanceled(2, 1, "OUT_OF_STOCK", 0, TEXT),
        OrderCanceled("OUT_OF_STOCK", "PENDING", TEXT),
    )


def test_canceling_the_last_units_of_a_paid_order_refunds_its_shipping_fee_too() -> None:
    authorized = replace(AUTHORIZED, amount_minor=100)
    life: Events = (
        OrderPlaced(USER, "USD", (INK,), 300, 0, 800),
        authorized,
        PaymentCaptured(NEW_ID, 800, "manual"),
        OrderPaid(800, 800),
    )

    given(*life).when(CancelUnits(2, 1, "OUT_OF_STOCK", REFUND)).then(
        OrderUnitsCanceled(2, 1, "OUT_OF_STOCK", 300),
        refund(800),
        OrderCanceled("OUT_OF_STOCK", "PAID"),
        VOIDED,
    )


@pytest.mark.parametrize(
    ("events", "quantity", "outstanding"),
    [
        (IS_PAID, 3, 2),
        (IS_PAID, 0, 2),
        (IS_PAID, -1, 2),
        ((*IS_PAID, PEN_CANCELED), 2, 1),
        (IS_PARTIALLY_SHIPPED, 1, 0),
        (IS_RETURNED, 1, 0),
    ],
)
def test_canceling_more_than_is_outstanding_is_refused(
    events: Events, quantity: int, outstanding: int
) -> None:
    given(*events).when(CancelUnits(1, quantity, "OTHER", REFUND)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=outstanding
    )


def test_units_of_a_canceled_order_are_not_canceled() -> None:
    given(*IS_CANCELED).when(ONE_PEN).then_refused(RuleViolation, "invalid-transition")


def test_units_of_an_order_with_an_agreed_total_cannot_be_canceled() -> None:
    given(AGREED).when(ONE_PEN).then_refused(RuleViolation, "order-not-editable")


@pytest.mark.parametrize("events", [(PLACED,), (AGREED,)])
def test_canceling_units_of_an_unknown_line_is_not_found(events: Events) -> None:
    given(*events).when(CancelUnits(9, 1, "OTHER", REFUND)).then_refused(NotFound, "line-not-found")


# --- by expiry ------------------------------------------------------------------------------------


def test_a_pending_order_expires_unless_money_is_held_for_it() -> None:
    given(PLACED).when(ExpireOrder()).then(OrderCanceled("EXPIRED", "PENDING"))
    given(PLACED, AUTHORIZED).when(ExpireOrder()).then()
    given(PLACED, AUTHORIZED, VOIDED).when(ExpireOrder()).then(OrderCanceled("EXPIRED", "PENDING"))


@pytest.mark.parametrize(
    "events", [(PLACED, *paid_in(1)), IS_PAID, IS_SHIPPED, IS_RETURNED, IS_CANCELED]
)
def test_a_paid_or_canceled_order_does_not_expire(events: Events) -> None:
    given(*events).when(ExpireOrder()).then()
