"""Reads that name a write: they wait until it is shown, or say that it is not (P5)."""

import asyncio
import time
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.documents.consistency_token import Token, token_of
from order_service.log.fold import FoldedOrder
from projections.queries.freshness import Freshness, Progress, Wanted, read_progress
from projections.read_models import order_view
from tests.support.http.accounts import Account
from tests.support.http.orders import place
from tests.support.http.queries import get
from tests.support.log.examples import PLACED
from tests.support.log.given_log import given_order
from tests.support.read_side.read_side import advance_all

DAY = "from=2026-01-01&to=2026-12-31"


@pytest.fixture
def paths(owner: Account) -> dict[str, str]:
    """Every read that waits."""
    return {
        "list": f"/orders/user/{owner.user_id}/?limit=9",
        "first page": f"/orders/user/{owner.user_id}/",
        "staff": "/orders/",
        "export": "/orders/export/",
        "summary": f"/users/{owner.user_id}/summary/",
        "report": f"/reports/sales/?{DAY}",
    }


def sent(answer: httpx.Response, prefer: str | None = None) -> dict[str, str]:
    headers = {"Consistency-Token": answer.headers["consistency-token"]}
    return headers | ({"Prefer": prefer} if prefer else {})


async def test_every_list_and_report_waits_for_the_write_that_it_is_shown(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    paths: dict[str, str],
) -> None:
    await get(web, staff, paths["first page"])  # cached, without the order
    placed = await place(web, owner)
    headers = sent(placed, "wait=10")

    waiting = {n: asyncio.create_task(get(web, staff, p, headers)) for n, p in paths.items()}
    await asyncio.sleep(4 * limits.READ_WAIT_POLL_S)
    assert not any(task.done() for task in waiting.values())
    await advance_all(projector_engine, cache)
    answers = {name: await task for name, task in waiting.items()}

    assert {answer.status_code for answer in answers.values()} == {200}
    assert {answer.headers["preference-applied"] for answer in answers.values()} == {"wait=10"}
    assert not any("projection-lag-ms" in answer.headers for answer in answers.values())
    assert answers["list"].json() == answers["first page"].json() == [placed.json()]
    assert answers["staff"].json()["items"][0]["id"] == placed.json()["id"]
    assert answers["export"].content == placed.content + b"\n"
    assert answers["summary"].json()["currencies"][0]["orders"] == 1
    assert [day["orders"] for day in answers["report"].json()["sales"]] == [1]
    again = await get(web, staff, paths["first page"], headers)
    assert again.json() == [placed.json()]


async def test_what_still_lags_is_said_or_refused_where_the_client_is_strict(
    web: httpx.AsyncClient, owner: Account, staff: Account, paths: dict[str, str]
) -> None:
    placed = await place(web, owner)
    began = time.monotonic()

    for path in paths.values():
        lenient = await get(web, staff, path, sent(placed, "wait=0, wait=9, foo; bar"))
        strict = await get(web, staff, path, sent(placed, 'handling="strict", wait=0'))
        assert lenient.status_code == 200
        assert 0 < int(lenient.headers["projection-lag-ms"]) < 60_000
        assert lenient.headers["preference-applied"] == "wait=0"
        assert (strict.status_code, strict.json()["type"]) == (503, "/problems/projection-lagging")
        assert strict.headers["retry-after"] == "1"
    waited = await get(web, staff, paths["staff"], sent(placed))

    assert waited.status_code == 200
    assert limits.READ_WAIT_S <= time.monotonic() - began < limits.READ_WAIT_MAX_S


async def test_a_cached_first_page_is_passed_by_until_it_shows_the_write(
    web: httpx.AsyncClient,
    owner: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    paths: dict[str, str],
) -> None:
    path = paths["first page"]
    await get(web, owner, path)
    placed = await place(web, owner)

    lagging = await get(web, owner, path, sent(placed, "wait=0"))
    await advance_all(projector_engine, cache)
    first = await get(web, owner, path, sent(placed))
    second = await get(web, owner, path, sent(placed))

    assert (lagging.json(), lagging.headers["x-cache"]) == ([], "bypass")
    assert [first.headers["x-cache"], second.headers["x-cache"]] == ["miss", "hit"]
    assert first.json() == second.json() == [placed.json()]


async def test_a_token_that_no_write_gave_costs_no_wait(
    web: httpx.AsyncClient, owner: Account, staff: Account, paths: dict[str, str]
) -> None:
    placed = await place(web, owner)
    token = placed.headers["consistency-token"]
    far = token[:-3] + "___"  # a position far beyond the log's end
    other_partition = UUID(int=UUID(placed.json()["id"]).int ^ 1)
    assert token != far
    began = time.monotonic()

    elsewhere = _forged(other_partition)
    patient = {"Consistency-Token": elsewhere, "Prefer": f"wait={limits.READ_WAIT_MAX_S:g}"}
    answer = await get(web, staff, paths["staff"], patient)
    wrong = ("", "x", token[:-1], ",".join([token] * 65))
    refused = [await get(web, staff, paths["staff"], {"Consistency-Token": w}) for w in wrong]
    forged = await get(web, staff, paths["staff"], {"Consistency-Token": far, "Prefer": "wait=0"})

    found = [(a.status_code, a.json()["type"]) for a in refused]
    assert found == [(400, "/problems/malformed-request")] * 4
    assert answer.status_code == forged.status_code == 200
    assert time.monotonic() - began < limits.READ_WAIT_MAX_S
    assert "projection-lag-ms" not in answer.headers  # the partition has nothing to wait for
    assert int(forged.headers["projection-lag-ms"]) > 0


async def progress(connection: AsyncConnection) -> Progress:
    return await read_progress(connection, order_view.NAME)


async def test_however_many_wait_in_vain_they_look_together(web_engine: AsyncEngine) -> None:
    """Else the end of their wait would take every connection of the pool from all others."""
    order_id = await given_order(web_engine, PLACED, partition=1)
    wanted = Wanted((Token(order_id, 1, 1, 1),), wait_s=0)
    freshness = Freshness(web_engine)
    statements: list[str] = []
    event.listen(
        web_engine.sync_engine, "before_cursor_execute", lambda *a: statements.append(a[2])
    )

    answers = await asyncio.gather(
        *(freshness.read(order_view.NAME, wanted, progress) for _ in range(50))
    )

    assert all(int(headers["Projection-Lag-Ms"]) > 0 for _, headers in answers)
    assert 52 <= len(statements) <= 54  # a read each, and one or two looks of all together


async def test_those_who_are_released_together_leave_connections_to_all_others(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED, partition=1)
    wanted = Wanted((Token(order_id, 1, 1, 1),), wait_s=limits.READ_WAIT_MAX_S)
    freshness = Freshness(web_engine)
    reading = greatest = 0
    many_read, others_have_read = asyncio.Event(), asyncio.Event()

    async def load(_: AsyncConnection) -> None:
        nonlocal reading, greatest
        reading += 1
        greatest = max(greatest, reading)
        if reading == limits.WAITED_READS_MAX:
            many_read.set()
        await others_have_read.wait()
        reading -= 1

    waiting = [
        asyncio.create_task(freshness.read(order_view.NAME, wanted, load)) for _ in range(50)
    ]
    lagging = Wanted(wanted.tokens, wait_s=0)
    await freshness.read(order_view.NAME, lagging, progress)  # they look together, and wait
    await advance_all(projector_engine, cache)
    async with asyncio.timeout(limits.READ_WAIT_MAX_S):
        await many_read.wait()
    fresh = Wanted(wanted.tokens, wait_s=0, strict=True)
    for other in (Wanted(), fresh):
        await freshness.read(order_view.NAME, other, progress)
    others_have_read.set()
    answers = await asyncio.gather(*waiting)

    assert [headers for _, headers in answers] == [{}] * 50
    assert greatest == limits.WAITED_READS_MAX < limits.POOL_SIZE


def _forged(stream_id: UUID) -> str:
    folded: Any = FoldedOrder(stream_id, "", 0, 10**9, 1, None, None, None)
    return token_of(folded)


async def test_an_order_is_not_taken_from_the_cache_below_its_token(
    web: httpx.AsyncClient, owner: Account, staff: Account, cache: OrderCache, redis: Redis
) -> None:
    """As if Redis had not been told of the second write."""
    placed = await place(web, owner)
    path = f"/orders/{placed.json()['id']}/"
    await get(web, owner, path)
    [key] = await redis.keys("order:*{*}")
    old = await redis.get(key)
    paid = await web.patch(path, json={"status": "PAID"}, headers=staff.headers)
    await redis.set(key, old)

    without = await get(web, owner, path)
    beside = await get(web, owner, path, sent(placed))
    named = await get(web, owner, path, sent(paid))

    assert (without.content, without.headers["x-cache"]) == (placed.content, "hit")
    assert beside.headers["x-cache"] == "hit"
    assert (named.content, named.headers["x-cache"]) == (paid.content, "bypass")
