"""Values derived from quantities and money: every status, amount due and credit due."""

from uuid import UUID

import pytest

from order_service.domain import state as rules
from order_service.domain.events import (
    OrderCanceled,
    OrderPaid,
    OrderPlaced,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
    ReturnReceived,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentVoided,
)
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from tests.support.log.examples import AT, DISPATCHED, INK, NEW_ID, PEN, PLACED, USER
from tests.support.log.given import given
from tests.support.log.lives import (
    AGREED,
    AUTHORIZED,
    CANCELED,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_PENDING,
    IS_RETURNED,
    IS_SENT_BACK,
    IS_SHIPPED,
    PARCEL,
    PAYMENT,
    REFUND,
    RETURN,
    Events,
)

TEN_PENS = OrderPlaced(USER, "USD", (OrderLine(1, "PEN", None, 10, 999),), 0, 0, 9990)
NINE_SENT = ShipmentDispatched(PARCEL, (LineQuantity(1, 9),), AT)
TENTH_CANCELED = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 8991)
VOIDED = ShipmentVoided(NEW_ID, "LOST")
PENS_BACK = ReturnReceived(RETURN, (ReceivedQuantity(1, 2, "DAMAGED"),), 1998)
PARCEL_ARRIVED = ShipmentDelivered(PARCEL, AT)
REQUESTED = RefundRequested(REFUND, 1000, "manual", "GOODWILL", NEW_ID)
ALL_REQUESTED = RefundRequested(REFUND, 2498, "manual", "GOODWILL", NEW_ID)
REFUNDED = RefundCompleted(REFUND, 1000)
ALL_REFUNDED = RefundCompleted(REFUND, 2498)
FREE = OrderPlaced(USER, "USD", (PEN, INK), 0, 2498, 0)


def captured(amount: int) -> PaymentCaptured:
    return PaymentCaptured(NEW_ID, amount, "provider")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        (IS_CANCELED, "CANCELED"),
        ((*IS_PAID, OrderCanceled("FRAUD", "PAID"), ALL_REQUESTED, ALL_REFUNDED), "CANCELED"),
        (IS_RETURNED, "RETURNED"),
        ((*IS_SENT_BACK, PENS_BACK), "DELIVERED"),
        (IS_DELIVERED, "DELIVERED"),
        ((TEN_PENS, NINE_SENT, PARCEL_ARRIVED), "PARTIALLY_SHIPPED"),
        ((TEN_PENS, NINE_SENT, PARCEL_ARRIVED, TENTH_CANCELED), "DELIVERED"),
        (IS_SHIPPED, "SHIPPED"),
        ((TEN_PENS, NINE_SENT, TENTH_CANCELED), "SHIPPED"),
        ((PLACED, DISPATCHED), "SHIPPED"),
        (IS_PARTIALLY_SHIPPED, "PARTIALLY_SHIPPED"),
        ((TEN_PENS, NINE_SENT), "PARTIALLY_SHIPPED"),
        (IS_PAID, "PAID"),
        ((*IS_PAID, REQUESTED, REFUNDED), "PAID"),
        ((*IS_PAID, ALL_REQUESTED, ALL_REFUNDED), "PAID"),
        ((*IS_SHIPPED, VOIDED), "PAID"),
        ((FREE, OrderPaid(0, 0)), "PAID"),
        (IS_PENDING, "PENDING"),
        ((PLACED, captured(2497)), "PENDING"),
        ((PLACED, AUTHORIZED), "PENDING"),
        ((PLACED, DISPATCHED, VOIDED), "PENDING"),
    ],
)
def test_the_status_is_the_first_one_whose_rule_applies(events: Events, status: str) -> None:
    assert rules.status(given(*events).order) == status


def test_an_order_without_units_is_not_shipped_delivered_or_returned() -> None:
    """The version between the cancellation of the last units and OrderCanceled shows this."""
    gone = (TEN_PENS, OrderUnitsCanceled(1, 10, "OTHER", 0))

    assert rules.status(given(*gone).order) == "PENDING"
    assert rules.summary(given(*gone).order).fulfillment_status == "UNFULFILLED"


@pytest.mark.parametrize(
    ("events", "payment_status"),
    [
        (IS_PENDING, "UNPAID"),
        (IS_CANCELED, "UNPAID"),
        ((FREE, CANCELED), "UNPAID"),
        ((PLACED, AUTHORIZED), "AUTHORIZED"),
        ((FREE, AUTHORIZED), "AUTHORIZED"),
        ((PLACED, AUTHORIZED, PaymentAuthorizationVoided(PAYMENT, "OTHER")), "UNPAID"),
        ((FREE,), "PAID"),
        ((PLACED, AUTHORIZED, captured(1)), "PARTIALLY_PAID"),
        ((PLACED, captured(2497)), "PARTIALLY_PAID"),
        ((PLACED, captured(2498)), "PAID"),
        ((PLACED, captured(2499)), "OVERPAID"),
        ((PLACED, captured(2498), CANCELED), "OVERPAID"),
        ((*IS_PAID, ALL_REQUESTED), "PAID"),
        ((*IS_PAID, REQUESTED, RefundFailed(REFUND, 1000, "closed")), "PAID"),
        ((*IS_PAID, REQUESTED, REFUNDED), "PARTIALLY_REFUNDED"),
        ((PLACED, captured(3498), REQUESTED, REFUNDED), "PARTIALLY_REFUNDED"),
        ((*IS_PAID, ALL_REQUESTED, ALL_REFUNDED), "REFUNDED"),
        ((*IS_PAID, CANCELED, ALL_REQUESTED, ALL_REFUNDED), "REFUNDED"),
    ],
)
def test_the_payment_status_is_the_first_one_whose_rule_applies(
    events: Events, payment_status: str
) -> None:
    assert rules.summary(given(*events).order).payment_status == payment_status


@pytest.mark.parametrize(
    ("events", "fulfillment_status"),
    [
        (IS_PENDING, "UNFULFILLED"),
        (IS_PAID, "UNFULFILLED"),
        ((*IS_SHIPPED, VOIDED), "UNFULFILLED"),
        (IS_PARTIALLY_SHIPPED, "PARTIALLY_SHIPPED"),
        (IS_SHIPPED, "SHIPPED"),
        ((TEN_PENS, NINE_SENT, TENTH_CANCELED), "SHIPPED"),
        ((*IS_PARTIALLY_SHIPPED, PARCEL_ARRIVED), "PARTIALLY_DELIVERED"),
        ((*IS_PARTIALLY_SHIPPED, PARCEL_ARRIVED, DISPATCHED), "PARTIALLY_DELIVERED"),
        (IS_DELIVERED, "DELIVERED"),
        (IS_SENT_BACK, "DELIVERED"),
        ((*IS_SENT_BACK, PENS_BACK), "PARTIALLY_RETURNED"),
        (IS_RETURNED, "RETURNED"),
        (IS_CANCELED, "CANCELED"),
    ],
)
def test_the_fulfillment_status_follows_from_the_units(
    events: Events, fulfillment_status: str
) -> None:
    assert rules.summary(given(*events).order).fulfillment_status == fulfillment_status


@pytest.mark.parametrize(
    ("events", "due", "credit"),
    [
        (IS_PENDING, 2498, 0),
        ((PLACED, AUTHORIZED), 2498, 0),
        ((PLACED, captured(1000)), 1498, 0),
        (IS_PAID, 0, 0),
        ((PLACED, captured(3000)), 0, 502),
        ((PLACED, captured(3498), REQUESTED), 0, 0),
        ((PLACED, captured(3498), REQUESTED, REFUNDED), 0, 0),
        ((PLACED, captured(3498), REQUESTED, RefundFailed(REFUND, 1000, "closed")), 0, 1000),
        ((*IS_PAID, REQUESTED), 0, 0),
        ((*IS_PAID, REQUESTED, REFUNDED), 1000, 0),
        (IS_CANCELED, 0, 0),
        ((*IS_SENT_BACK, PENS_BACK), 0, 1998),
        (IS_RETURNED, 0, 0),
        ((*IS_RETURNED, ALL_REFUNDED), 0, 0),
        ((*IS_RETURNED, RefundFailed(REFUND, 2498, "closed")), 0, 2498),
        ((*IS_PAID, CANCELED), 0, 2498),
        ((*IS_PAID, CANCELED, REQUESTED), 0, 1498),
        ((*IS_PAID, CANCELED, REQUESTED, REFUNDED), 0, 1498),
    ],
)
def test_amount_due_and_credit_due_follow_from_total_and_net_payments(
    events: Events, due: int, credit: int
) -> None:
    order = given(*events).order

    assert (rules.amount_due_minor(order), rules.credit_due_minor(order)) == (due, credit)


def test_the_authorized_amount_excludes_what_was_captured() -> None:
    other = PaymentAuthorized(UUID(int=52), 100)
    part = PaymentCaptured(PAYMENT, 1000, "manual")

    order = given(PLACED, AUTHORIZED, other, part).order

    assert rules.authorized_minor(order) == 1598


@pytest.mark.parametrize(
    ("events", "total"),
    [
        ((PLACED,), 2498),
        ((OrderPlaced(USER, "USD", (PEN, INK), 300, 800, 1998),), 1998),
        ((PLACED, OrderUnitsCanceled(1, 1, "OTHER", 1499)), 1499),
        (
            (
                OrderPlaced(USER, "USD", (PEN, INK), 0, 1000, 1498),
                OrderUnitsCanceled(1, 2, "OTHER", 300),
            ),
            300,
        ),
        ((AGREED,), 1000),
        (IS_RETURNED, 2498),
    ],
    ids=["lines", "shipping and discount", "canceled", "with a discount", "agreed", "returned"],
)
def test_the_total_covers_the_units_that_are_not_canceled(events: Events, total: int) -> None:
    assert given(*events).order.total_minor == total


@pytest.mark.parametrize(
    ("events", "allowed"),
    [
        (IS_PENDING, ("PAID", "CANCELED")),
        (IS_PAID, ("SHIPPED", "CANCELED")),
        (IS_PARTIALLY_SHIPPED, ("SHIPPED",)),
        (IS_SHIPPED, ("DELIVERED",)),
        (IS_DELIVERED, ()),
        (IS_RETURNED, ()),
        (IS_CANCELED, ()),
    ],
)
def test_the_transitions_that_are_allowed_follow_from_the_status(
    events: Events, allowed: tuple[str, ...]
) -> None:
    assert rules.allowed_transitions(given(*events).order) == allowed
