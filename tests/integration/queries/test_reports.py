"""Reports over HTTP: what a user spent, what was sold."""

from uuid import uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from tests.support.http.accounts import Account
from tests.support.http.queries import get, new_order, set_status
from tests.support.read_side.read_side import advance_all


async def test_a_summary_adds_up_what_a_user_ordered(
    web: httpx.AsyncClient,
    owner: Account,
    other: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    first, second = [await new_order(web, owner) for _ in range(2)]
    await new_order(web, other)
    await set_status(web, staff, first["id"], "PAID")
    in_yen = [{"sku": "A", "quantity": 3, "unit_price": 100}]
    await new_order(web, owner, items=in_yen, currency="JPY")
    await advance_all(projector_engine, cache)
    path = f"/users/{owner.user_id}/summary/"

    answer = await get(web, owner, path)

    yen, dollars = answer.json()["currencies"]
    assert (yen["currency"], yen["orders"], yen["spent"]) == ("JPY", 1, "0")
    assert dollars == {
        "currency": "USD",
        "orders": 2,
        "spent": "19.98",
        "last_order_at": second["created_at"],
        "last_order_id": second["id"],
    }
    assert (await get(web, staff, path)).json() == answer.json()
    assert (await get(web, other, path)).status_code == 403
    assert (await get(web, staff, f"/users/{uuid4()}/summary/")).status_code == 404


def _revenue(amount: str) -> dict[str, str]:
    return {"revenue": amount, "gross": amount, "self_service": "0.00"}


async def test_a_report_counts_orders_on_their_day_in_their_status(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    orders = [await new_order(web, owner) for _ in range(3)]
    await set_status(web, staff, orders[0]["id"], "PAID")
    await advance_all(projector_engine, cache)
    day = orders[0]["created_at"][:10]

    answer = await get(web, staff, f"/reports/sales/?from={day}&to={day}")

    row = {"day": day, "currency": "USD"}
    assert answer.json() == {
        "from": day,
        "to": day,
        "time_zone": "UTC",
        "sales": [
            row | {"status": "PAID", "orders": 1, "units": 2} | _revenue("19.98"),
            row | {"status": "PENDING", "orders": 2, "units": 4} | _revenue("0.00"),
        ],
    }
    assert (await get(web, staff, "/reports/sales/?from=2020-01-01&to=2020-12-31")).json()[
        "sales"
    ] == []
    forbidden = await get(web, owner, f"/reports/sales/?from={day}&to={day}")
    assert forbidden.status_code == 403


async def test_a_report_refuses_days_that_make_no_sense(
    web: httpx.AsyncClient, staff: Account
) -> None:
    queries = (
        "from=2026-01-01",
        "from=2026-01-02&to=2026-01-01",
        "from=2025-01-01&to=2026-01-02",
        "from=2026-02-30&to=2026-03-01",
        "from=1&to=2",
        "from=2026-01-01T00:00:00Z&to=2026-01-02",
    )

    answers = [await get(web, staff, f"/reports/sales/?{days}") for days in queries]

    assert {a.status_code for a in answers} == {422}
    assert {a.json()["type"] for a in answers} == {"/problems/validation"}


async def test_a_report_takes_a_leap_year_whole(web: httpx.AsyncClient, staff: Account) -> None:
    answer = await get(web, staff, "/reports/sales/?from=2024-01-01&to=2024-12-31")

    assert answer.status_code == 200
    assert answer.json()["sales"] == []
