"""The rows that read models make of events, without a database."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import pytest

from order_service.documents.sales import Percentiles
from order_service.domain.events import (
    OrderCanceled,
    OrderEvent,
    OrderPlaced,
    PaymentCaptured,
    PaymentReversed,
    RefundFailed,
    RefundRequested,
)
from order_service.log.codec import RecordedEvent
from order_service.log.fold import FoldedOrder, fold_recorded
from projections.read_models import customer_summary, order_view, sales_by_day, sales_by_hour
from projections.read_models.registry import PROJECTIONS
from projections.routes import sales as sales_routes
from tests.support.log.examples import (
    AT,
    BY_USER,
    CAPTURED,
    DISPATCHED,
    NEW_ID,
    PAID,
    PEN,
    PLACED,
    USER,
)
from tests.support.log.lives import IS_DELIVERED, IS_RETURNED, IS_SENT_BACK, PAYMENT, REFUND
from tests.support.values import replace

ORDER_ID = UUID("00000000-0000-7000-8000-000000000004")
DAY = timedelta(days=1)
LATER = AT + 3 * DAY


def given(*events: OrderEvent, placed_at: datetime = AT) -> FoldedOrder:
    """An order that was placed at `placed_at`; everything else happened days later."""
    folded = None
    for version, event in enumerate(events, start=1):
        at = placed_at if version == 1 else LATER
        recorded = RecordedEvent(0, version, ORDER_ID, version, uuid4(), event, BY_USER, at)
        folded = fold_recorded(folded, [recorded], 4)
    assert folded is not None
    return folded


def test_a_row_of_order_view_has_the_filter_columns_and_the_document() -> None:
    placed = replace(PLACED, external_reference="Cart-7")
    dispatched = replace(DISPATCHED, tracking_number="1Z99")

    rows = order_view.rows((None, given(placed, CAPTURED, PAID, dispatched)))

    [(key, values)] = rows.items()
    row = dict(zip(PROJECTIONS["order_view"].values, values, strict=True))
    assert key == (ORDER_ID,)
    assert orjson.loads(row.pop("document"))["version"] == 4
    assert row == {
        "number": "A-4-2",
        "user_id": USER,
        "external_reference": "Cart-7",
        "status": "SHIPPED",
        "payment_status": "PAID",
        "fulfillment_status": "SHIPPED",
        "currency": "USD",
        "total_minor": 2498,
        "amount_due_minor": 0,
        "credit_due_minor": 0,
        "lines": 2,
        "units": 3,
        "terms": ["1z99", "cart-7", "ink", "pen"],
        "return_open": False,
        "refund_failed": False,
        "prices_trusted": True,
        "on_hold": False,
        "hold_expires_at": None,
        "self_service": False,
        "version": 4,
        "created_at": AT,
        "updated_at": LATER,
    }


def test_a_row_shows_an_open_return_and_a_failed_last_refund() -> None:
    asked = (PLACED, CAPTURED, RefundRequested(NEW_ID, 500, "manual", "OTHER"))
    failed = (*asked, RefundFailed(NEW_ID, 500, "closed"))
    again = (*failed, RefundRequested(PAYMENT, 500, "manual", "OTHER"))

    assert [order_view.refund_failed(given(*life).order) for life in (asked, failed, again)] == [
        False,
        True,
        False,
    ]
    lives = (IS_DELIVERED, IS_SENT_BACK[:-1], IS_SENT_BACK, IS_RETURNED)
    assert [order_view.return_open(given(*life).order) for life in lives] == [
        False,
        True,
        True,
        False,
    ]


def test_an_order_is_found_by_references_of_payments_in_either_form_of_a_text() -> None:
    held = PaymentCaptured(PAYMENT, 2498, "provider", "Caf\u00e9-1")
    decomposed = replace(held, provider_reference="cafe\u0301-1 ")

    for captured in (held, decomposed):
        assert "caf\u00e9-1" in order_view.terms(given(PLACED, captured).order)
    assert order_view.search_term("CAFE\u0301-1") == "caf\u00e9-1"


def test_search_terms_have_no_surrounding_spaces() -> None:
    """A SKU may have spaces as sent; the search text `q` is stripped."""
    lines = (replace(PEN, sku=" Pad "), replace(PEN, line_id=2, sku="  "))

    assert order_view.terms(given(replace(PLACED, lines=lines)).order) == ["pad"]


def test_spent_is_the_captured_amount_less_all_refunds() -> None:
    canceled = OrderCanceled("OTHER", "PAID")
    refund = RefundRequested(NEW_ID, 500, "cancel", "OTHER")

    contribution = customer_summary.contribution(given(PLACED, CAPTURED, PAID, canceled, refund))

    assert contribution == (1, 1998, AT, ORDER_ID)


def test_a_later_event_changes_the_money_but_not_the_number_of_orders() -> None:
    change = (given(PLACED), given(PLACED, CAPTURED))

    assert customer_summary.rows(change) == {(USER, "USD"): (0, 2498, AT, ORDER_ID)}


def test_the_last_order_of_a_customer_is_the_newest_one() -> None:
    newer = (1, 0, LATER, UUID(int=1))

    assert customer_summary.add((1, 5, AT, ORDER_ID), newer) == (2, 5, LATER, UUID(int=1))
    assert customer_summary.add(newer, (1, 5, AT, ORDER_ID)) == (2, 5, LATER, UUID(int=1))


def test_an_order_counts_on_its_utc_day_with_its_present_status() -> None:
    just_before_midnight = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)

    day, sales = sales_by_day.contribution(
        given(PLACED, CAPTURED, PAID, placed_at=just_before_midnight)
    )

    assert day == (date(2026, 3, 1), "USD", "PAID")
    assert sales == (1, 2498, 3, 2498, 0)


def test_an_order_that_changes_its_status_moves_to_another_row() -> None:
    change = (given(PLACED), given(PLACED, CAPTURED, PAID))

    assert sales_by_day.rows(change) == {
        (date(2026, 3, 1), "USD", "PENDING"): (-1, 0, -3, 0, 0),
        (date(2026, 3, 1), "USD", "PAID"): (1, 2498, 3, 2498, 0),
    }


def test_an_order_that_keeps_its_status_changes_nothing() -> None:
    change = (given(PLACED), given(PLACED, CAPTURED))

    assert sales_by_day.rows(change) == {(date(2026, 3, 1), "USD", "PENDING"): (0, 0, 0, 0, 0)}


REAL = PaymentCaptured(PAYMENT, 2498, "provider")
OWNERS = PaymentCaptured(REFUND, 1000, "self_service")


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        ((PLACED, REAL), (0, 0, 0)),  # PENDING
        ((PLACED, REAL, PAID), (2498, 2498, 0)),
        (
            (PLACED, REAL, PAID, RefundRequested(NEW_ID, 1249, "manual", "OTHER", PAYMENT)),
            (2498, 1249, 0),
        ),
        ((PLACED, REAL, PAID, PaymentReversed(PAYMENT, 498, "BOUNCE")), (2498, 2000, 0)),
        ((PLACED, OWNERS, PAID), (0, 0, 1000)),
        (
            (
                *(PLACED, REAL, OWNERS, PAID),
                RefundRequested(NEW_ID, 400, "manual", "OTHER", REFUND),
                RefundRequested(ORDER_ID, 98, "manual", "OTHER", PAYMENT),
            ),
            (2498, 2400, 1000),
        ),
        (
            (
                *(PLACED, REAL, PAID, OrderCanceled("OTHER", "PAID")),
                RefundRequested(NEW_ID, 2498, "cancel", "OTHER", PAYMENT),
            ),
            (2498, 0, 0),
        ),
    ],
)
def test_revenue_means_the_same_in_both_reports(
    life: Sequence[OrderEvent], expected: tuple[int, int, int]
) -> None:
    folded = given(*life)
    _, (_, net, _, gross, apart) = sales_by_day.contribution(folded)
    found = sales_by_hour.rows((None, folded))
    paid, refunded, by_owner = (
        sum(amount for key, (_, amount) in found.items() if key[2] == fact)
        for fact in ("paid", "refunded", "self_service")
    )

    assert (gross, net, apart) == (paid, paid - refunded, by_owner) == expected


HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


def facts(before: FoldedOrder | None, after: FoldedOrder) -> dict[object, object]:
    """The changed facts of an order in dollars, by name and detail."""
    found = sales_by_hour.rows((before, after))
    assert {key[:2] for key in found} <= {(HOUR, "USD")}
    return {key[2:]: counted for key, counted in found.items()}


def test_the_hourly_facts_of_an_order_count_its_milestones_and_times_between_them() -> None:
    """Three days are 259,200 s, of which five binary digits are kept."""
    canceled = (OrderCanceled("FRAUD", "PAID"), RefundRequested(NEW_ID, 2498, "cancel", "FRAUD"))
    paid = given(PLACED, CAPTURED, PAID)
    sent = replace(paid, milestones={"ShipmentDispatched": LATER + DAY, **paid.milestones})

    assert facts(None, given(*IS_DELIVERED)) == {
        ("placed", ""): (1, 0),
        ("paid", ""): (1, 2498),
        ("place_to_pay", "253952"): (1, 0),
        ("shipped", ""): (1, 0),
        ("delivered", ""): (1, 0),
    }
    assert facts(paid, sent) == {("shipped", ""): (1, 0), ("pay_to_ship", "86016"): (1, 0)}
    assert facts(None, given(PLACED, CAPTURED, *canceled)) == {
        ("placed", ""): (1, 0),
        ("paid", ""): (0, 2498),
        ("canceled", "FRAUD"): (1, 0),
        ("refunded", ""): (1, 2498),
    }
    assert facts(None, given(PLACED, DISPATCHED)) == {
        ("placed", ""): (1, 0),
        ("shipped", ""): (1, 0),
    }


def test_only_differences_change_the_facts_of_an_hour() -> None:
    late = AT + timedelta(minutes=59)
    asking = (PLACED, CAPTURED, PAID, RefundRequested(NEW_ID, 500, "manual", "OTHER"))
    asked = given(*asking, placed_at=late)
    failed = given(*asking, RefundFailed(NEW_ID, 500, "closed"), placed_at=late)

    assert facts(given(PLACED), given(PLACED, CAPTURED)) == {}  # PENDING: no revenue yet
    assert facts(asked, failed) == {("refunded", ""): (-1, -500)}
    assert facts(failed, failed) == {}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], Percentiles(None, None)),
        ([("40", 1)], Percentiles(40, 40)),
        ([("100", 1), ("9", 5), ("20", 4)], Percentiles(9, 20)),
        ([("100", 2), ("9", 4), ("20", 4)], Percentiles(20, 100)),
    ],
)
def test_a_percentile_is_the_smallest_time_that_covers_its_share(
    times: list[tuple[str, int]], expected: Percentiles
) -> None:
    assert sales_routes.percentiles(dict(times)) == expected


LIVES: Sequence[Sequence[OrderEvent]] = (
    (PLACED, CAPTURED, PAID, DISPATCHED),
    (PLACED, OrderCanceled("OTHER", "PENDING")),
    (OrderPlaced(USER, "USD", (replace(PEN, unit_price_minor=None),), 0, 0, 700), CAPTURED),
)


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("life", LIVES)
def test_folding_event_by_event_or_all_at_once_makes_the_same_rows(
    name: str, life: Sequence[OrderEvent]
) -> None:
    """So the live loop may cut the log into batches anywhere, and a rebuild need not."""
    projection = PROJECTIONS[name]
    steps: dict[tuple[object, ...], tuple[object, ...]] = {}
    before = None
    for length in range(1, len(life) + 1):
        after = given(*life[:length])
        projection.merge(steps, projection.rows((before, after)))
        before = after

    at_once = projection.rows((None, given(*life)))

    assert {key: row for key, row in steps.items() if any(row[:3])} == at_once
