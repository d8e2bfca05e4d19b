"""Placing and editing orders: totals, lines, address, notes."""

import pytest

from order_service.domain.commands import (
    AddLine,
    AddNote,
    ChangeLineQuantity,
    ChangeShippingAddress,
    PlaceOrder,
    RemoveLine,
)
from order_service.domain.events import (
    OrderLineAdded,
    OrderLineQuantityChanged,
    OrderLineRemoved,
    OrderNoteAdded,
    OrderPaid,
    OrderPlaced,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    PaymentCaptured,
    RefundCompleted,
    RefundRequested,
    ShipmentVoided,
    ShippingAddressChanged,
)
from order_service.domain.parts import OrderLine
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import INK, NEW_ID, PEN, PLACED, USER, placing
from tests.support.log.given import given
from tests.support.log.lives import (
    AGREED,
    AUTHORIZED,
    BOX,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_RETURNED,
    IS_SHIPPED,
    PAYMENT,
    PENS_SENT,
    REFUND,
    TEXT,
    Events,
)
from tests.support.values import replace

GIFT = OrderLine(1, "GIFT", None, 1, 0)
CAP = OrderLine(3, "CAP", "Cap", 4, 250, {"color": "red"})
ADD_CAP = AddLine(CAP)
PEN_CANCELED = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1499)
NO_INK = OrderUnitsCanceled(2, 1, "OUT_OF_STOCK", 1998)

# --- placed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("currency", ["XXX", "ANG", "BGN"])
def test_an_order_in_an_unknown_or_withdrawn_currency_is_refused(currency: str) -> None:
    unknown = replace(placing(), currency=currency)

    given().when(unknown).then_refused(InvalidRequest, "unknown-currency")


def test_an_order_is_placed_with_the_sum_of_its_lines() -> None:
    given().when(placing(PEN, INK)).then(PLACED)


def test_a_placed_order_keeps_every_field() -> None:
    given().when(PlaceOrder(USER, "JPY", (PEN, CAP), 2948, "cart-1", 100, 150, NEW_ID)).then(
        OrderPlaced(
            *(USER, "JPY", (replace(PEN, share_minor=100), replace(CAP, share_minor=50))),
            *(100, 150, 2948, "cart-1", NEW_ID),
        )
    )


def test_a_total_that_equals_the_sum_of_the_lines_is_accepted() -> None:
    given().when(placing(PEN, INK, total_price_minor=2498)).then(PLACED)


@pytest.mark.parametrize("total", [0, 2497, 2499])
def test_a_total_that_differs_from_the_lines_is_refused(total: int) -> None:
    given().when(placing(PEN, INK, total_price_minor=total)).then_refused(
        InvalidRequest, "total-mismatch", expected="24.98"
    )


def test_the_total_includes_shipping_and_discount() -> None:
    with_both = replace(placing(), shipping_fee_minor=300, discount_minor=800)

    given().when(replace(with_both, total_price_minor=2498)).then_refused(
        InvalidRequest, "total-mismatch", expected="19.98"
    )


@pytest.mark.parametrize("total", [1, 1000, 10**15])
def test_an_order_without_prices_has_the_agreed_total(total: int) -> None:
    given().when(placing(BOX, total_price_minor=total)).then(
        OrderPlaced(USER, "USD", (BOX,), 0, 0, total)
    )


@pytest.mark.parametrize(
    "command",
    [
        placing(BOX),
        placing(BOX, total_price_minor=-1),
        placing(BOX, total_price_minor=10**15 + 1),
        replace(placing(BOX, total_price_minor=1000), shipping_fee_minor=1),
        replace(placing(BOX, total_price_minor=1000), discount_minor=1),
        placing(PEN, OrderLine(2, "BOX", None, 3, None)),
        placing(PEN, OrderLine(2, "BOX", None, 3, None), total_price_minor=1998),
        placing(OrderLine(1, "GOLD", None, 100_000, 10**14)),
    ],
    ids=[
        "no price and no total",
        "agreed on less than nothing",
        "agreed on too much",
        "agreed, and shipping",
        "agreed, and a discount",
        "a price on some lines",
        "a price on some lines and a total",
        "too much",
    ],
)
def test_an_order_with_an_impossible_total_is_refused(command: PlaceOrder) -> None:
    given().when(command).then_refused(InvalidRequest, "validation")


def test_an_order_with_a_total_of_zero_is_paid_at_once() -> None:
    given().when(placing(GIFT)).then(OrderPlaced(USER, "USD", (GIFT,), 0, 0, 0), OrderPaid(0, 0))
    given().when(replace(placing(), discount_minor=2498)).then(
        OrderPlaced(
            *(USER, "USD", (replace(PEN, share_minor=1998), replace(INK, share_minor=500))),
            *(0, 2498, 0),
        ),
        OrderPaid(0, 0),
    )
    given().when(placing(BOX, total_price_minor=0)).then(
        OrderPlaced(USER, "USD", (BOX,), 0, 0, 0), OrderPaid(0, 0)
    )


# --- lines ----------------------------------------------------------------------------------------


def test_a_line_is_added_with_the_new_total() -> None:
    given(PLACED).when(ADD_CAP).then(OrderLineAdded(CAP, 3498))


def test_the_line_id_of_a_removed_line_is_not_reused() -> None:
    given(PLACED, OrderLineRemoved(2, 1998)).when(ADD_CAP).then(OrderLineAdded(CAP, 2998))
    given(PLACED, OrderLineAdded(CAP, 3498), OrderLineRemoved(3, 2498)).when(ADD_CAP).then(
        OrderLineAdded(replace(CAP, line_id=4), 3498)
    )


def test_a_new_total_excludes_canceled_units_and_includes_shipping_and_discount() -> None:
    placed = OrderPlaced(USER, "USD", (PEN, INK), 300, 200, 2598)

    given(placed, replace(PEN_CANCELED, total_minor=1679)).when(ADD_CAP).then(
        OrderLineAdded(CAP, 2679)
    )


def test_a_line_needs_a_price() -> None:
    given(PLACED).when(AddLine(replace(CAP, unit_price_minor=None))).then_refused(
        InvalidRequest, "validation"
    )


def test_an_order_has_at_most_200_lines() -> None:
    lines = tuple(OrderLine(n, "A", None, 1, 1) for n in range(1, 201))

    given(OrderPlaced(USER, "USD", lines, 0, 0, 200)).when(ADD_CAP).then_refused(
        InvalidRequest, "validation"
    )
    given(OrderPlaced(USER, "USD", lines[:199], 0, 0, 199)).when(ADD_CAP).then(
        OrderLineAdded(replace(CAP, line_id=200), 1199)
    )


@pytest.mark.parametrize("quantity", [-1, 0, 1_000_001])
def test_a_quantity_out_of_bounds_is_refused(quantity: int) -> None:
    given(PLACED).when(AddLine(replace(CAP, quantity=quantity))).then_refused(
        InvalidRequest, "validation"
    )
    given(PLACED).when(ChangeLineQuantity(1, quantity)).then_refused(InvalidRequest, "validation")


@pytest.mark.parametrize(("quantity", "total"), [(1, 1499), (3, 3497), (1_000_000, 999_000_500)])
def test_a_lines_quantity_is_changed_with_the_new_total(quantity: int, total: int) -> None:
    given(PLACED).when(ChangeLineQuantity(1, quantity)).then(
        OrderLineQuantityChanged(1, 2, quantity, total, 0, 0, 0)
    )


def test_setting_the_present_quantity_changes_nothing() -> None:
    given(PLACED).when(ChangeLineQuantity(1, 2)).then()


def test_a_quantity_must_exceed_the_canceled_units() -> None:
    given(PLACED, PEN_CANCELED).when(ChangeLineQuantity(1, 1)).then_refused(
        InvalidRequest, "validation"
    )
    given(PLACED, PEN_CANCELED).when(ChangeLineQuantity(1, 3)).then(
        OrderLineQuantityChanged(1, 2, 3, 2498, 0, 0, 0)
    )


def test_a_line_is_removed_with_the_new_total() -> None:
    given(PLACED).when(RemoveLine(1)).then(OrderLineRemoved(1, 500))


@pytest.mark.parametrize(
    "events",
    [(OrderPlaced(USER, "USD", (PEN,), 0, 0, 1998),), (PLACED, NO_INK)],
    ids=["the only line", "the others are canceled"],
)
def test_the_last_line_is_not_removed(events: Events) -> None:
    given(*events).when(RemoveLine(1)).then_refused(RuleViolation, "last-line", status="PENDING")


def test_a_canceled_line_may_be_removed() -> None:
    given(PLACED, NO_INK).when(RemoveLine(2)).then(OrderLineRemoved(2, 1998))


@pytest.mark.parametrize("command", [ChangeLineQuantity(3, 1), RemoveLine(3)])
def test_an_unknown_line_is_not_found(command: ChangeLineQuantity | RemoveLine) -> None:
    given(PLACED).when(command).then_refused(NotFound, "line-not-found")


EDITS = [ADD_CAP, ChangeLineQuantity(1, 1), RemoveLine(1)]


@pytest.mark.parametrize("command", EDITS)
@pytest.mark.parametrize(
    "events",
    [
        (PLACED, AUTHORIZED),
        (PLACED, PaymentCaptured(NEW_ID, 1, "manual")),
        (
            PLACED,
            PaymentCaptured(NEW_ID, 1, "manual"),
            RefundRequested(REFUND, 1, "manual", "GOODWILL"),
            RefundCompleted(REFUND, 1),
        ),
        (PLACED, PENS_SENT),
        (OrderPlaced(USER, "USD", (PEN, INK), 0, 2498, 0), OrderPaid(0, 0)),
        (AGREED,),
        IS_PAID,
        IS_PARTIALLY_SHIPPED,
        IS_SHIPPED,
        IS_DELIVERED,
        IS_RETURNED,
        IS_CANCELED,
    ],
)
def test_an_order_that_money_or_goods_have_touched_is_not_edited(
    events: Events, command: AddLine | ChangeLineQuantity | RemoveLine
) -> None:
    given(*events).when(command).then_refused(RuleViolation, "order-not-editable")


def test_an_order_whose_authorization_was_voided_is_edited_again() -> None:
    voided = PaymentAuthorizationVoided(PAYMENT, "CUSTOMER_REQUEST")

    given(PLACED, AUTHORIZED, voided).when(RemoveLine(1)).then(OrderLineRemoved(1, 500))


def test_an_edit_that_leaves_nothing_to_pay_pays_the_order() -> None:
    free_ink = OrderPlaced(USER, "USD", (PEN, replace(INK, unit_price_minor=0)), 0, 0, 1998)

    given(free_ink).when(RemoveLine(1)).then(OrderLineRemoved(1, 0), OrderPaid(0, 0))


# The pens' share of the discount is 8.00, the ink's 2.00.
DISCOUNTED = OrderPlaced(USER, "USD", (PEN, INK), 0, 1000, 1498)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (ChangeLineQuantity(1, 1), OrderLineQuantityChanged(1, 2, 1, 899, 0, 400, 0)),
        (ChangeLineQuantity(1, 3), OrderLineQuantityChanged(1, 2, 3, 2497, 0, 800, 0)),
        (RemoveLine(1), OrderLineRemoved(1, 300)),
        (ADD_CAP, OrderLineAdded(CAP, 2498)),
    ],
)
def test_units_taken_away_take_their_share_of_the_discount_along_and_new_ones_bring_none(
    command: AddLine | ChangeLineQuantity | RemoveLine,
    event: OrderLineAdded | OrderLineQuantityChanged | OrderLineRemoved,
) -> None:
    given(DISCOUNTED).when(command).then(event)


def test_a_quantity_that_is_lowered_and_raised_again_has_lost_the_discount() -> None:
    """11.98 for two pens: 5.99 for one, and 9.99 for one more."""
    one_pen = OrderLineQuantityChanged(1, 2, 1, 899)

    given(DISCOUNTED, one_pen).when(ChangeLineQuantity(1, 2)).then(
        OrderLineQuantityChanged(1, 1, 2, 1898, 0, 400, 0)
    )


def test_added_units_cost_their_price_whatever_is_canceled_of_the_line() -> None:
    one_canceled = OrderUnitsCanceled(1, 1, "OTHER", 899)

    given(DISCOUNTED, one_canceled).when(ChangeLineQuantity(1, 4)).then(
        OrderLineQuantityChanged(1, 2, 4, 2897, 0, 533, 0)
    )


def test_an_edit_beyond_every_amount_is_refused() -> None:
    gold = OrderPlaced(USER, "USD", (OrderLine(1, "GOLD", None, 1, 10**15),), 0, 0, 10**15)

    given(gold).when(ChangeLineQuantity(1, 2)).then_refused(InvalidRequest, "validation")
    given(gold).when(ADD_CAP).then_refused(InvalidRequest, "validation")


# --- address and notes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        (PLACED,),
        (AGREED,),
        IS_PAID,
        (*IS_PARTIALLY_SHIPPED, ShipmentVoided(PENS_SENT.shipment_id, "LOST")),
    ],
)
def test_the_address_can_change_while_no_units_are_shipped(events: Events) -> None:
    given(*events).when(ChangeShippingAddress(TEXT)).then(ShippingAddressChanged(TEXT))


@pytest.mark.parametrize(
    "events", [IS_PARTIALLY_SHIPPED, IS_SHIPPED, IS_DELIVERED, IS_RETURNED, IS_CANCELED]
)
def test_the_address_of_a_shipped_or_canceled_order_cannot_change(events: Events) -> None:
    given(*events).when(ChangeShippingAddress(TEXT)).then_refused(
        RuleViolation, "order-not-editable"
    )


@pytest.mark.parametrize("events", [(PLACED,), IS_PAID, IS_DELIVERED, IS_RETURNED, IS_CANCELED])
def test_a_note_is_added_in_any_state(events: Events) -> None:
    given(*events).when(AddNote(NEW_ID, "internal", TEXT)).then(
        OrderNoteAdded(NEW_ID, "internal", TEXT)
    )
