"""What a line is worth: discounts, taxes, fine prices; whose prices an order takes."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from order_service.domain.commands import (
    AddLine,
    CancelUnits,
    ChangeLineQuantity,
    ChangeStatus,
    PlaceOrder,
    ReceiveReturn,
    RecordPayment,
    RemoveLine,
)
from order_service.domain.events import (
    OrderEvent,
    OrderPaid,
    OrderPlaced,
    OrderUnitsCanceled,
    PaymentCaptured,
    RefundRequested,
    ReturnApproved,
    ReturnReceived,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.domain.lines import gross_minor
from order_service.domain.money import to_fine_minor
from order_service.domain.order import decide, evolve, initial
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from order_service.domain.state import Order, summary
from order_service.errors import InvalidRequest, RuleViolation
from tests.support.log.examples import AT, NEW_ID, USER
from tests.support.log.given import given
from tests.support.log.lives import PAYMENT, REFUND
from tests.support.values import replace


def line(price: int, quantity: int = 1, line_id: int = 1, **members: object) -> OrderLine:
    return replace(OrderLine(line_id, "A", None, quantity, price), **members)


def placing(*lines: OrderLine, **members: object) -> PlaceOrder:
    return replace(PlaceOrder(USER, "USD", lines, None), **members)


def order_after(*events: OrderEvent) -> Order:
    order = initial
    for event in events:
        order = evolve(order, event)
    assert order is not None
    return order


def placed(command: PlaceOrder, paid: bool = True) -> list[OrderEvent]:
    """The order's first events, with a payment of its total."""
    events = list(decide(command, initial))
    total = order_after(*events).total_minor
    if paid and total:
        events += [PaymentCaptured(PAYMENT, total, "manual"), OrderPaid(total, total)]
    return events


def delivered(command: PlaceOrder) -> list[OrderEvent]:
    events = placed(command)
    parts = tuple(LineQuantity(sold.line_id, sold.quantity) for sold in command.lines)
    return [*events, ShipmentDispatched(NEW_ID, parts, AT), ShipmentDelivered(NEW_ID, AT)]


def refunds(events: Sequence[OrderEvent]) -> list[int]:
    return [event.amount_minor for event in events if isinstance(event, RefundRequested)]


# Goods, and the refund and the new total after units of line 2, or else 1, are canceled: the cases
# "Money" of the field.
CASES = {
    "an order's discount": (placing(line(1000, 2), discount_minor=1000), 1, 1, 500, 500),
    "a discount over two lines": (
        placing(line(1000), line(9000, 1, 2), discount_minor=3000),
        *(2, 1, 6300, 700),
    ),
    "a line without a discount": (
        placing(line(2080, 35), line(770, 25, 2, discount_minor=2888), line(770, 1, 3)),
        *(1, 1, 2080, 89932 - 2080),
    ),
    "a line with a discount": (
        placing(line(2080, 35), line(770, 25, 2, discount_minor=2888), line(770, 1, 3)),
        *(2, 25, 16362, 89932 - 16362),
    ),
    "a tax that is added": (
        placing(line(1000, 2, tax_minor=380), tax_included=False),
        *(1, 1, 1190, 1190),
    ),
    "a tax that is included": (placing(line(1000, 2, tax_minor=319)), 1, 1, 1000, 1000),
    "all at once": (
        placing(
            line(1000, 3, discount_minor=300, tax_minor=30),
            line(500, 1, 2),
            discount_minor=320,
            shipping_fee_minor=450,
            shipping_tax_minor=50,
            tax_included=False,
        ),
        # net 2700 and 500, shares 270 and 50: 2460 for three, 450
        *(1, 1, 820, 2460 - 820 + 450 + 500),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_canceled_units_bring_back_what_they_were_bought_for(name: str) -> None:
    command, line_id, units, refund, total = CASES[name]
    order = order_after(*placed(command))

    events = decide(CancelUnits(line_id, units, "OUT_OF_STOCK", REFUND), order)

    assert refunds(events) == [refund]
    assert order_after(*placed(command), *events).total_minor == total


@pytest.mark.parametrize("portions", [[3], [1, 2], [2, 1], [1, 1, 1]])
@pytest.mark.parametrize("name", ["an order's discount", "three for 29.00", "all at once"])
def test_returned_units_bring_back_the_same_in_whatever_portions(
    name: str, portions: list[int]
) -> None:
    three = placing(line(1000, 3, discount_minor=100))
    command = CASES[name][0] if name in CASES else three
    first = replace(command.lines[0], quantity=3)
    command = replace(command, lines=(first, *command.lines[1:]))
    events = [
        *delivered(command),
        ReturnRequested(NEW_ID, (LineQuantity(1, 3),), "DAMAGED"),
        ReturnApproved(NEW_ID),
    ]
    whole = order_after(*events).lines[1].value_minor

    given_back = []
    for units in portions:
        back = (ReceivedQuantity(1, units, "SELLABLE"),)
        new = decide(ReceiveReturn(NEW_ID, back, REFUND), order_after(*events))
        given_back += refunds(new)
        events += new

    assert sum(given_back) == whole
    assert max(given_back) - min(given_back) <= 1 or len(set(portions)) > 1


def test_the_shares_of_a_discount_are_recorded_and_sum_to_it() -> None:
    lines = (line(1000, 1, 1), line(1000, 1, 2), line(1000, 1, 3))

    [event] = decide(placing(*lines, discount_minor=1000), initial)

    assert isinstance(event, OrderPlaced)
    assert [sold.share_minor for sold in event.lines] == [334, 333, 333]


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (placing(line(1000, 2), discount_minor=2001), "20.00"),
        (placing(line(1000, 2, discount_minor=500), discount_minor=1501), "15.00"),
        (placing(line(1000, 2, discount_minor=2001)), "20.00"),
        (placing(line(1000), discount_minor=1001, shipping_fee_minor=500), "10.00"),
    ],
)
def test_a_discount_beyond_the_goods_is_refused(command: PlaceOrder, most: str) -> None:
    given().when(command).then_refused(InvalidRequest, "discount-exceeds-goods", max_discount=most)


def test_a_discount_of_0_1_0_beyond_the_goods_goes_off_the_shipping_fee() -> None:
    """New orders cannot have it; what is recorded is read as it was."""
    old = order_after(OrderPlaced(USER, "USD", (line(1000),), 500, 1200, 300))

    assert (old.lines[1].value_minor, old.total_minor) == (0, 300)


@pytest.mark.parametrize(
    ("price", "currency", "units", "gross"),
    [
        ("0.0045", "USD", 1000, 450),
        ("0.0129", "USD", 500, 645),
        ("0.00000001", "USD", 1_000_000, 1),
        ("0.0125", "USD", 1, 1),
        ("0.0125", "USD", 2, 3),  # half up
        ("9.9900", "USD", 3, 2997),
        ("1000.0", "JPY", 1, 1000),
        ("0.5", "JPY", 3, 2),
        ("1.2340", "KWD", 1, 1234),
    ],
)
def test_a_unit_price_may_be_finer_than_the_currency(
    price: str, currency: str, units: int, gross: int
) -> None:
    minor, scale = to_fine_minor(Decimal(price), currency)

    assert gross_minor(line(minor, units, unit_price_scale=scale)) == gross


@pytest.mark.parametrize(
    ("price", "currency"), [("0.000000001", "USD"), ("0.0000001", "JPY"), ("1e-10", "KWD")]
)
def test_a_unit_price_has_at_most_six_decimals_more(price: str, currency: str) -> None:
    with pytest.raises(InvalidRequest, match="digits after the point"):
        to_fine_minor(Decimal(price), currency)


def test_a_client_total_counts_shipping_discounts_and_added_taxes() -> None:
    command = CASES["all at once"][0]

    given().when(replace(command, total_price_minor=3410)).then(
        *decide(command, initial),
    )
    given().when(replace(command, total_price_minor=3409)).then_refused(
        InvalidRequest, "total-mismatch", expected="34.10"
    )


@pytest.mark.parametrize(
    "members", [{"discount_minor": 1}, {"tax_minor": 1}], ids=["discount", "tax"]
)
def test_an_agreed_total_has_no_amounts_beside_it(members: dict[str, int]) -> None:
    unpriced = replace(OrderLine(1, None, None, 1, None), **members)

    given().when(placing(unpriced, total_price_minor=500)).then_refused(
        InvalidRequest, "validation"
    )


def test_an_item_without_a_name_needs_an_agreed_total() -> None:
    nameless = OrderLine(1, None, None, 1, None)

    given().when(placing(nameless, total_price_minor=500)).then(
        OrderPlaced(USER, "USD", (nameless,), 0, 0, 500)
    )
    given().when(placing(replace(nameless, unit_price_minor=500))).then_refused(
        InvalidRequest, "validation"
    )


# --- shipping -------------------------------------------------------------------------------------


def test_the_shipping_fee_goes_back_once_where_the_command_says_so() -> None:
    command = placing(line(1000, 2), shipping_fee_minor=500)
    events = [
        *delivered(command),
        ReturnRequested(NEW_ID, (LineQuantity(1, 2),), "DAMAGED"),
        ReturnApproved(NEW_ID),
    ]

    given_back, returned = [], []
    for _ in range(2):
        one = (ReceivedQuantity(1, 1, "SELLABLE"),)
        new = decide(ReceiveReturn(NEW_ID, one, REFUND, True), order_after(*events))
        given_back += refunds(new)
        events += new
        returned.append(order_after(*events).returned_minor)

    assert given_back == [1500, 1000]
    assert returned == [1500, 2500]
    assert [e.shipping_minor for e in events if isinstance(e, ReturnReceived)] == [500, 0]
    assert summary(order_after(*events)).amount_due_minor == 0


def test_money_for_an_order_of_zero_total_pays_it_whoever_set_its_prices() -> None:
    free = placing(line(1000, 2), discount_minor=2000, prices_trusted=False)
    report = RecordPayment(PAYMENT, REFUND, 500, "provider", "pi_1")

    new = decide(report, order_after(*decide(free, None)))

    assert new == (
        PaymentCaptured(PAYMENT, 500, "provider", "pi_1"),
        OrderPaid(total_minor=0, captured_minor=500),
    )


def test_canceled_units_may_take_the_shipping_fee_along() -> None:
    events = placed(placing(line(1000, 2), shipping_fee_minor=500))

    new = decide(CancelUnits(1, 1, "OUT_OF_STOCK", REFUND, None, True), order_after(*events))

    assert new == (
        OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1000, None, 500),
        RefundRequested(REFUND, 1500, "cancel", "OUT_OF_STOCK", PAYMENT),
    )
    after = order_after(*events, *new)
    assert (after.shipping_fee_minor, after.total_minor) == (0, 1000)


# --- whose prices ---------------------------------------------------------------------------------

CUSTOMERS = placing(line(1000, 2), prices_trusted=False)
STAFFS = placing(line(1000, 2), discount_minor=1000)


def test_a_quantity_that_an_owner_reduces_keeps_its_part_of_the_discount() -> None:
    events = placed(STAFFS, paid=False)

    new = decide(ChangeLineQuantity(1, 1, "refused"), order_after(*events))

    after = order_after(*events, *new)
    assert (after.total_minor, summary(after).status) == (500, "PENDING")


@pytest.mark.parametrize(
    ("command", "edit"),
    [
        (STAFFS, AddLine(line(0, 5), "refused")),
        (STAFFS, AddLine(line(0, 5), "accepted")),
        (STAFFS, ChangeLineQuantity(1, 3, "refused")),
        (CUSTOMERS, AddLine(line(0, 5), "refused")),
        (CUSTOMERS, ChangeLineQuantity(1, 3, "refused")),
    ],
)
def test_an_owner_adds_nothing_to_what_the_shop_has_priced(
    command: PlaceOrder, edit: AddLine | ChangeLineQuantity
) -> None:
    given(*placed(command, paid=False)).when(edit).then_refused(RuleViolation, "prices-not-trusted")


@pytest.mark.parametrize(
    ("command", "edit"),
    [
        (CUSTOMERS, AddLine(line(100, 5), "accepted")),
        (CUSTOMERS, ChangeLineQuantity(1, 3, "accepted")),
        (STAFFS, ChangeLineQuantity(1, 3, "accepted")),
        (STAFFS, AddLine(line(100, 5), "trusted")),
        (CUSTOMERS, ChangeLineQuantity(1, 1, "refused")),
        (replace(CUSTOMERS, lines=(line(1, 1, 1), line(1, 1, 2))), RemoveLine(1)),
    ],
)
def test_an_owner_may_order_more_where_customers_set_prices_and_less_anywhere(
    command: PlaceOrder, edit: AddLine | ChangeLineQuantity | RemoveLine
) -> None:
    assert decide(edit, order_after(*placed(command, paid=False)))


def test_a_total_of_zero_is_paid_by_itself_only_where_the_shop_set_the_prices() -> None:
    free = placing(line(99_900), discount_minor=99_900)
    untrusted = replace(free, prices_trusted=False)

    assert [type(e).__name__ for e in decide(free, initial)] == ["OrderPlaced", "OrderPaid"]
    [event] = decide(untrusted, initial)
    shown = summary(order_after(event))
    assert (shown.status, shown.payment_status) == ("PENDING", "UNPAID")

    paid = decide(ChangeStatus("PAID", NEW_ID, AT, "OTHER"), order_after(event))
    assert paid == (OrderPaid(0, 0),)
    assert summary(order_after(event, *paid)).payment_status == "PAID"
