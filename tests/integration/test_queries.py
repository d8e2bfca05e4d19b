"""Queries over HTTP: one order (P5), lists, reports; who may see what (P7)."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache import OrderCache
from order_service.main import create_app
from order_service.settings import Settings
from projections import dead_letters
from projections.registry import PROJECTIONS
from tests.accounts import Account, new_account
from tests.conftest import serving
from tests.given_log import RawEvent, given_order
from tests.read_side import advance_all, order_cache, run

POISON = RawEvent("OrderFrobnicated", "{}")


@pytest.fixture
async def cache(redis: Redis) -> OrderCache:
    return order_cache(redis)


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine)


@pytest.fixture
async def other(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine, role="staff")


async def place(web: httpx.AsyncClient, who: Account, **body: Any) -> dict[str, Any]:
    items = [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]
    answer = await web.post("/orders/", json={"items": items, **body}, headers=who.headers)
    order: dict[str, Any] = answer.raise_for_status().json()
    return order


async def change(web: httpx.AsyncClient, who: Account, order_id: str, status: str) -> None:
    answer = await web.patch(f"/orders/{order_id}/", json={"status": status}, headers=who.headers)
    answer.raise_for_status()


async def get(
    web: httpx.AsyncClient, who: Account, path: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await web.get(path, headers={**who.headers, **(headers or {})})


# --- one order ------------------------------------------------------------------------------------


async def test_an_order_is_read_before_any_read_model_has_it_then_from_the_cache(
    web: httpx.AsyncClient, owner: Account
) -> None:
    placed = await place(web, owner)

    first = await get(web, owner, f"/orders/{placed['id']}/")
    second = await get(web, owner, f"/orders/{placed['id']}")

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json() == placed
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.headers["etag"] == '"1"'
    assert first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in first.headers["vary"]


async def test_no_read_is_older_than_the_last_answer(
    web: httpx.AsyncClient,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    """With the cache filled, emptied and filled again; before and after the projection."""
    order_id = (await place(web, staff))["id"]

    for status, version in (("PAID", '"3"'), ("SHIPPED", '"5"'), ("DELIVERED", '"7"')):
        await get(web, staff, f"/orders/{order_id}/")
        await change(web, staff, order_id, status)
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version
        await redis.flushdb()
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version
        await advance_all(projector_engine, cache)
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version


async def test_the_read_model_serves_the_bytes_of_the_command_s_answer(
    web: httpx.AsyncClient,
    owner: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    placed = await place(web, owner)
    folded = await get(web, owner, f"/orders/{placed['id']}/")
    await advance_all(projector_engine, cache)
    await redis.flushdb()

    projected = await get(web, owner, f"/orders/{placed['id']}/")

    assert projected.headers["x-cache"] == "miss"
    assert projected.content == folded.content


async def test_without_redis_orders_are_read_all_the_same(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    nowhere = settings.model_copy(update={"REDIS_PORT": 9, "RATE_LIMIT": "1000000/minute"})
    async with serving(create_app(nowhere)) as web:
        owner = await new_account(web, web_engine)
        placed = await place(web, owner)

        answer = await get(web, owner, f"/orders/{placed['id']}/")

    assert (answer.status_code, answer.headers["x-cache"]) == (200, "bypass")
    assert answer.json() == placed


async def test_a_known_version_is_not_sent_again(web: httpx.AsyncClient, owner: Account) -> None:
    placed = await place(web, owner)
    expected = {
        '"1"': 304,
        'W/"1"': 304,
        '"7", W/"1"': 304,
        "*": 304,
        '"2"': 200,
        "1": 200,
        '"11"': 200,
    }

    answers = {
        sent: await get(web, owner, f"/orders/{placed['id']}/", {"If-None-Match": sent})
        for sent in expected
    }

    assert {sent: answer.status_code for sent, answer in answers.items()} == expected
    assert {answer.headers["etag"] for answer in answers.values()} == {'"1"'}
    assert {a.content for a in answers.values() if a.status_code == 304} == {b""}


async def test_what_is_not_yours_and_what_does_not_exist_look_alike(
    web: httpx.AsyncClient, owner: Account, other: Account
) -> None:
    foreign = (await place(web, other))["id"]
    await get(web, other, f"/orders/{foreign}/")  # it is in the cache now

    paths = (
        foreign,
        str(uuid4()),
        str(UUID(int=0)),
        "nonsense",
        f"{{{foreign}}}",
        f"urn:{foreign}",
    )
    answers = [await get(web, owner, f"/orders/{path}/") for path in paths]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["type"] for answer in answers} == {"/problems/order-not-found"}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_staff_see_every_order_and_ids_in_capitals_are_the_same_order(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    placed = await place(web, owner)

    answer = await get(web, staff, f"/orders/{placed['id'].upper()}/")

    assert answer.json() == placed


async def test_an_order_s_number_is_as_good_as_its_id(
    web: httpx.AsyncClient, owner: Account, other: Account
) -> None:
    placed = await place(web, owner)
    number: str = placed["number"]
    _, digits, check = number.split("-")

    for text in (number, number.lower()):
        assert (await get(web, owner, f"/orders/{text}/")).json() == placed
    nobodys = f"A-{digits}-{(int(check) + 1) % 10}", f"A-{int(digits) + 4}-{check}", "A-100042-1"
    foreign = await get(web, other, f"/orders/{number}/")
    answers = [foreign, *[await get(web, owner, f"/orders/{text}/") for text in nobodys]]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_a_burst_of_readers_costs_few_loads(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    placed = await place(web, owner)

    answers = await asyncio.gather(
        *(get(web, owner, f"/orders/{placed['id']}/") for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_an_unreadable_order_is_given_in_its_last_readable_version(
    web: httpx.AsyncClient,
    owner: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    placed = await place(web, owner)
    await given_order(web_engine, POISON, stream_id=UUID(placed["id"]), expected=1)
    await redis.flushdb()

    answers = [await get(web, owner, f"/orders/{placed['id']}/")]
    await advance_all(projector_engine, cache)
    answers.append(await get(web, owner, f"/orders/{placed['id']}/", {"If-None-Match": "*"}))

    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == placed
        assert answer.headers["order-stale"] == "true"
        assert "etag" not in answer.headers
        assert answer.headers["x-cache"] == "miss"


async def test_an_order_with_a_skipped_event_is_served_by_its_stream(
    web: httpx.AsyncClient,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    await run(
        projector_engine,
        "ALTER TABLE read_models.order_view_1 ADD CONSTRAINT odd CHECK (status <> 'PAID')",
    )
    order_id = (await place(web, staff))["id"]
    await change(web, staff, order_id, "PAID")
    await advance_all(projector_engine, cache)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 DROP CONSTRAINT odd")
    skipped = await dead_letters.skip(
        projector_engine, cache, PROJECTIONS["order_view"], UUID(order_id), "a test"
    )
    await redis.flushdb()

    answer = await get(web, staff, f"/orders/{order_id}/")

    assert skipped is True
    assert (answer.json()["status"], answer.headers["etag"]) == ("PAID", '"3"')


# --- lists ----------------------------------------------------------------------------------------


async def walk(web: httpx.AsyncClient, who: Account, path: str) -> list[list[str]]:
    """The ids of every page, following Link."""
    pages = []
    while path:
        answer = await get(web, who, path)
        assert answer.status_code == 200
        pages.append([order["id"] for order in answer.json()])
        path = answer.links["next"]["url"] if "link" in answer.headers else ""
    return pages


async def test_a_list_is_newest_first_page_by_page(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await place(web, owner))["id"] for _ in range(5)]
    await advance_all(projector_engine, cache)

    pages = await walk(web, owner, f"/orders/user/{owner.user_id}/?limit=2")

    newest_first = ids[::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


async def test_a_list_can_be_filtered_by_status(
    web: httpx.AsyncClient, staff: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await place(web, staff))["id"] for _ in range(4)]
    await change(web, staff, ids[1], "PAID")
    await change(web, staff, ids[2], "CANCELED")
    await advance_all(projector_engine, cache)

    path = f"/orders/user/{staff.user_id}/?limit=1&status="
    assert await walk(web, staff, f"{path}PAID,CANCELED") == [[ids[2]], [ids[1]]]
    assert await walk(web, staff, f"{path}SHIPPED") == [[]]


async def test_the_first_page_is_cached_until_the_projection_changes_it(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    path = f"/orders/user/{owner.user_id}/"
    empty = await get(web, owner, path)
    again = await get(web, owner, path)

    placed = await place(web, owner)
    await advance_all(projector_engine, cache)
    fresh = await get(web, owner, path)

    assert (empty.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
    assert empty.content == again.content == b"[]"
    assert (fresh.headers["x-cache"], fresh.json()) == ("miss", [placed])


async def test_a_cached_first_page_leads_on_to_the_second(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await place(web, owner))["id"] for _ in range(51)]
    await advance_all(projector_engine, cache)
    path = f"/orders/user/{owner.user_id}/"
    await get(web, owner, path)

    pages = await walk(web, owner, path)

    assert pages == [ids[:0:-1], ids[:1]]


async def test_a_cursor_is_of_use_for_its_own_list_only(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    for _ in range(2):
        await place(web, owner)
    await advance_all(projector_engine, cache)
    path = f"/orders/user/{owner.user_id}/"
    link = (await get(web, owner, f"{path}?limit=1")).links["next"]["url"]
    cursor = httpx.URL(link).params["cursor"]

    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    refused = [
        await get(web, owner, f"{path}?cursor={changed}"),
        await get(web, owner, f"{path}?cursor=nonsense"),
        await get(web, owner, f"{path}?cursor=%C3%A9%00"),
        await get(web, owner, f"{path}?cursor={cursor}&status=PENDING"),
        await get(web, staff, f"/orders/user/{staff.user_id}/?cursor={cursor}"),
    ]

    assert {answer.status_code for answer in refused} == {400}
    assert {answer.json()["type"] for answer in refused} == {"/problems/invalid-cursor"}


async def test_lists_belong_to_their_user_and_to_staff(
    web: httpx.AsyncClient, owner: Account, other: Account, staff: Account
) -> None:
    path = f"/orders/user/{owner.user_id}/"

    foreign = await get(web, other, path)
    assert (foreign.status_code, foreign.json()["type"]) == (403, "/problems/forbidden")
    assert (await get(web, staff, path)).json() == []
    assert (await get(web, staff, f"/orders/user/{uuid4()}/")).status_code == 404
    assert (await web.get(path)).status_code == 401


async def test_a_list_refuses_what_it_cannot_answer(web: httpx.AsyncClient, owner: Account) -> None:
    too_long = "A" * 200
    queries = ("limit=0", "limit=201", "limit=x", "status=LOST", "status=", f"cursor={too_long}")

    answers = [await get(web, owner, f"/orders/user/{owner.user_id}/?{q}") for q in queries]

    assert {a.status_code for a in answers} == {422}
    assert {a.json()["type"] for a in answers} == {"/problems/validation"}
    refused = [a.json()["errors"][0]["parameter"] for a in answers]
    assert refused == ["limit", "limit", "limit", "status", "status", "cursor"]


# --- reports --------------------------------------------------------------------------------------


async def test_a_summary_adds_up_what_a_user_ordered(
    web: httpx.AsyncClient,
    owner: Account,
    other: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    first, second = [await place(web, owner) for _ in range(2)]
    await place(web, other)
    await change(web, staff, first["id"], "PAID")
    in_yen = [{"sku": "A", "quantity": 3, "unit_price": 100}]
    await place(web, owner, items=in_yen, currency="JPY")
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


async def test_a_report_counts_orders_on_their_day_in_their_status(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    orders = [await place(web, owner) for _ in range(3)]
    await change(web, staff, orders[0]["id"], "PAID")
    await advance_all(projector_engine, cache)
    day = orders[0]["created_at"][:10]

    answer = await get(web, staff, f"/reports/sales/?from={day}&to={day}")

    row = {"day": day, "currency": "USD"}
    assert answer.json() == {
        "from": day,
        "to": day,
        "sales": [
            row | {"status": "PAID", "orders": 1, "revenue": "19.98", "units": 2},
            row | {"status": "PENDING", "orders": 2, "revenue": "39.96", "units": 4},
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
