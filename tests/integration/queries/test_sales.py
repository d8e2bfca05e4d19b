"""The desk's sales over HTTP: what was sold in a time, and what became of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import httpx
import pytest

from order_service import limits
from order_service.domain.events import OrderCanceled, RefundFailed, RefundRequested
from projections.read_models.shop_time import hour_of
from tests.support.http.accounts import Account
from tests.support.http.orders import problem
from tests.support.http.queries import get
from tests.support.log.examples import CAPTURED, NEW_ID, PAID, PLACED
from tests.support.log.given_log import given_order
from tests.support.log.lives import IS_DELIVERED, IS_PAID, IS_RETURNED
from tests.support.read_side.read_side import ReadSide, run, verified
from tests.support.values import replace

DECLINED = OrderCanceled("PAYMENT_DECLINED", "PENDING")
LIVES = (
    (PLACED,),
    IS_DELIVERED,
    IS_RETURNED,
    (*IS_PAID, OrderCanceled("FRAUD", "PAID"), RefundRequested(NEW_ID, 2498, "cancel", "FRAUD")),
    (PLACED, DECLINED),
    (PLACED, DECLINED),
    (replace(PLACED, currency="JPY"), CAPTURED, PAID),
)
A_DAY_EARLIER = "UPDATE read_models.sales_by_hour SET hour = hour - interval '1 day'"


async def test_sales_say_what_was_sold_and_what_became_of_it(
    web: httpx.AsyncClient, read_side: ReadSide, staff: Account
) -> None:
    for number, life in enumerate(LIVES):
        await read_side.given(*life, partition=number % 4)
        await read_side.advance()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await run(read_side.projector_engine, f"{A_DAY_EARLIER} WHERE currency = 'JPY'")

    answer = await get(web, staff, _sales(hour - timedelta(hours=1), hour + timedelta(hours=1)))
    daily = await get(web, staff, _sales(hour - timedelta(days=2), hour + timedelta(1), "day"))

    assert answer.headers["cache-control"] == "no-store"
    [dollars] = answer.json()["currencies"]
    assert sum(point["orders"] for point in dollars["series"]) == 6
    assert sum(Decimal(point["revenue"]) for point in dollars["series"]) == Decimal("24.98")
    assert dollars["funnel"] == {
        "placed": 6,
        "paid": 3,
        "shipped": 2,
        "delivered": 2,
        "canceled": 3,
    }
    assert dollars["cancel_reasons"] == [
        {"reason": "PAYMENT_DECLINED", "orders": 2},
        {"reason": "FRAUD", "orders": 1},
    ]
    assert dollars["refund_rate"] == 0.6667
    assert dollars["place_to_pay_s"] == {"p50": 0, "p90": 0}
    assert dollars["pay_to_ship_s"] == {"p50": None, "p90": None}  # all of one moment
    yen, same = daily.json()["currencies"]
    assert [(point["orders"], point["revenue"]) for point in yen["series"]] == [(1, "2498")]
    yesterday = hour.replace(hour=0) - timedelta(days=1)
    assert yen["series"][0]["at"] == f"{yesterday:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert same["funnel"] == dollars["funnel"]


def _sales(first: datetime, end: datetime, by: str = "hour") -> str:
    return f"/ops/sales/?from={first:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}&by={by}"


async def test_the_end_is_exclusive_to_the_instant(
    web: httpx.AsyncClient, read_side: ReadSide, staff: Account
) -> None:
    """Orders are not counted by the hour in which the report ends, but by when they were placed."""
    placed = []
    for life in (IS_DELIVERED, IS_RETURNED, (PLACED,)):
        order_id = await read_side.given(*life)
        placed.append(order_id)
    await read_side.advance()
    rows = await read_side.rows("SELECT order_id, created_at FROM read_models.order_view")
    at = {UUID(int=order_id.int): created_at for order_id, created_at in rows}
    instants = sorted(at.values())
    first = hour_of(instants[0])

    counted = {}
    for by in ("hour", "day"):
        for end in (*instants, instants[-1] + timedelta(microseconds=1)):
            asked = f"from={first:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%S.%fZ}&by={by}"
            answer = (await get(web, staff, f"/ops/sales/?{asked}")).json()
            counted[by, end] = [
                (
                    one["funnel"]["placed"],
                    one["funnel"]["delivered"],
                    sum(point["orders"] for point in one["series"]),
                    sum(Decimal(point["gross"]) for point in one["series"]),
                )
                for one in answer["currencies"]
            ]

    for by in ("hour", "day"):
        found = [counted[by, end] for end in (*instants, instants[-1] + timedelta(microseconds=1))]
        assert found == [
            [],
            [(1, 1, 1, Decimal("24.98"))],
            [(2, 2, 2, Decimal("49.96"))],
            [(3, 2, 3, Decimal("49.96"))],
        ]


async def test_a_report_that_would_fold_too_many_orders_asks_for_a_whole_hour(
    web: httpx.AsyncClient, read_side: ReadSide, staff: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await read_side.given(PLACED)
    await read_side.advance()
    [(first,)] = await read_side.rows("SELECT min(created_at) FROM read_models.order_view")
    monkeypatch.setattr(limits, "SALES_PART_ORDERS_MAX", 2)

    hour = hour_of(first)
    part = f"from={hour:%Y-%m-%dT%H:%M:%SZ}&to={first:%Y-%m-%dT%H:%M:%S.%fZ}"
    refused = await get(web, staff, f"/ops/sales/?{part}")
    whole = await get(web, staff, _sales(hour, hour + timedelta(hours=1)))

    assert problem(refused) == (422, "validation")
    assert refused.json()["errors"][0]["parameter"] == "to"
    assert whole.json()["currencies"][0]["funnel"]["placed"] == 3


async def test_sales_refuse_times_that_make_no_sense(
    web: httpx.AsyncClient, staff: Account
) -> None:
    wrong = {
        "from=2026-01-01T00:00:00Z": "to",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "to",
        "from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z": "to",
        "from=2026-01-01&to=2026-01-02T00:00:00Z": "from",
        "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&by=week": "by",
    }

    answers = {query: await get(web, staff, f"/ops/sales/?{query}") for query in wrong}

    named = {query: answer.json()["errors"][0]["parameter"] for query, answer in answers.items()}
    assert named == wrong
    assert {answer.status_code for answer in answers.values()} == {422}


async def test_facts_that_are_no_longer_so_leave_no_row_behind(read_side: ReadSide) -> None:
    """As verify has it: the live loop and a fold of the log make the same rows."""
    asked = RefundRequested(NEW_ID, 500, "manual", "OTHER")
    order_id = await read_side.given(*IS_PAID, asked)
    await read_side.advance()
    failed = RefundFailed(NEW_ID, 500, "closed")
    await given_order(read_side.web_engine, failed, expected=4, stream_id=order_id)
    await read_side.advance()

    facts = await read_side.rows("SELECT fact FROM read_models.sales_by_hour ORDER BY fact")

    assert facts == [("paid",), ("place_to_pay",), ("placed",)]
    assert (await verified(read_side.projector_engine)).agree
