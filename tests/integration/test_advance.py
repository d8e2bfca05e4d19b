"""The loop that keeps read models up with the log: P4 and P8."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache import Entry, Lease, OrderCache
from order_service.cache_entries import CachedList, CachedOrder
from order_service.domain.events import OrderPlaced
from order_service.settings import Settings
from projections import advance as loop
from projections import dead_letters
from projections.advance import advance, behind
from projections.registry import PROJECTIONS
from projections.step import TooManyParkings
from tests.examples import CAPTURED, PAID, PEN, PLACED, USER
from tests.given_log import RawEvent, given_order, order_id_in
from tests.read_side import advance_all, order_cache, rows, run, verified

ROOT = Path(__file__).parent.parent.parent
POISON = RawEvent("OrderFrobnicated", "{}")
OTHER_USER = UUID("00000000-0000-7000-8000-00000000000b")
ORDERS = "SELECT order_id, status, version FROM read_models.order_view ORDER BY order_id"
CUSTOMERS = "SELECT user_id, currency, orders, spent_minor FROM read_models.customer_summary"
SALES = "SELECT status, orders, revenue_minor, units FROM read_models.sales_by_day ORDER BY status"
POSITIONS = "SELECT position FROM checkpoints WHERE name = 'order_view' ORDER BY partition"
PARKED = "SELECT name, stream_id, version, last_version FROM dead_letters ORDER BY name"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a turn ends when all is done, and a pause lasts."""
    monkeypatch.setattr("order_service.settings.ADVANCE_TIME_S", 60.0)
    monkeypatch.setattr("order_service.settings.ADVANCE_BACKOFF_S", (60.0,))


@pytest.fixture
async def cache(redis: Redis) -> AsyncIterator[OrderCache]:
    yield order_cache(redis)
    loop.pauses.clear()


# --- counting once --------------------------------------------------------------------------------


async def test_an_order_goes_from_the_log_into_every_read_model(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED, CAPTURED, PAID)

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, ORDERS) == [(order_id, "PAID", 3)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert await rows(web_engine, SALES) == [("PAID", 1, 2498, 3)]
    assert await rows(web_engine, POSITIONS) == [(3,), (0,), (0,), (0,)]


async def test_an_aggregate_moves_with_its_order_and_leaves_no_empty_row(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED)
    await advance_all(projector_engine, cache)

    await given_order(web_engine, CAPTURED, PAID, stream_id=order_id, expected=1)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, SALES) == [("PAID", 1, 2498, 3)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]


async def test_a_hint_that_comes_twice_has_one_effect(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)

    await advance_all(projector_engine, cache)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 0)]


async def test_workers_at_once_count_every_event_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    async def place() -> None:
        for _ in range(30):
            await given_order(web_engine, PLACED)

    async def work() -> None:
        for _ in range(30):
            await advance(projector_engine, cache, "customer_summary", 0)

    await asyncio.gather(place(), work(), work(), work())
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 30, 0)]


async def test_a_worker_that_finds_the_lock_taken_goes_away_at_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    async with projector_engine.begin() as holder:
        await holder.execute(text("SELECT FROM checkpoints WHERE name = 'order_view' FOR UPDATE"))

        more = await advance(projector_engine, cache, "order_view", 0)

    assert more is False
    assert await rows(web_engine, ORDERS) == []


async def test_news_that_came_while_the_lock_was_held_is_not_forgotten(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """The worker that holds the lock finishes an event that another one was turned away with."""
    first = await given_order(web_engine, PLACED)
    async with projector_engine.begin() as blocker:
        # The holder waits here, in the middle of its batch.
        await blocker.execute(text("LOCK TABLE read_models.order_view_1 IN SHARE MODE"))
        holder = asyncio.create_task(advance(projector_engine, cache, "order_view", 0))
        async with asyncio.timeout(2):
            while await rows(web_engine, "SELECT pid FROM pg_locks WHERE NOT granted") == []:
                await asyncio.sleep(0.01)
        second = await given_order(web_engine, PLACED)
        assert await advance(projector_engine, cache, "order_view", 0) is False

    if await holder:  # on a busy machine its time is up: it asks for another turn
        assert await advance(projector_engine, cache, "order_view", 0) is False
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {first, second}


async def test_rows_and_checkpoint_go_back_together(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """A connection that dies between the rows and the commit leaves neither."""
    await given_order(web_engine, PLACED)
    await run(
        projector_engine,
        "CREATE FUNCTION read_models.cut() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
    )
    await run(
        projector_engine,
        "CREATE TRIGGER cut AFTER INSERT ON read_models.customer_summary_1 "
        "EXECUTE FUNCTION read_models.cut()",
    )

    with pytest.raises(DBAPIError):
        await advance(projector_engine, cache, "customer_summary", 0)

    assert await rows(web_engine, CUSTOMERS) == []
    positions = "SELECT max(position) FROM checkpoints WHERE name = 'customer_summary'"
    assert await rows(web_engine, positions) == [(0,)]


async def test_a_partition_that_failed_is_left_alone_for_a_while(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 RENAME TO away")
    with pytest.raises(DBAPIError):
        await advance(projector_engine, cache, "order_view", 0)

    await run(projector_engine, "ALTER TABLE read_models.away RENAME TO order_view_1")
    assert await advance(projector_engine, cache, "order_view", 0) is False
    assert await rows(web_engine, ORDERS) == []

    loop.pauses.clear()
    await advance(projector_engine, cache, "order_view", 0)
    assert len(await rows(web_engine, ORDERS)) == 1


async def test_a_long_backlog_is_worked_off_turn_by_turn(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.settings.ADVANCE_TIME_S", 0.0)
    monkeypatch.setattr("order_service.settings.ADVANCE_BATCH_EVENTS", 2)
    for _ in range(3):
        await given_order(web_engine, PLACED)

    assert await advance(projector_engine, cache, "order_view", 0) is True
    assert await rows(web_engine, POSITIONS) == [(2,), (0,), (0,), (0,)]
    assert await advance(projector_engine, cache, "order_view", 0) is False


async def test_what_nobody_was_told_about_is_found(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED, partition=2)
    await advance(projector_engine, cache, "order_view", 2)

    async with projector_engine.connect() as connection:
        found = [(b.name, b.partition, b.position, b.head) for b in await behind(connection)]

    assert found == [("customer_summary", 2, 0, 1), ("sales_by_day", 2, 0, 1)]


async def test_code_of_another_version_does_not_touch_the_live_generation(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await given_order(web_engine, PLACED)
    await run(projector_engine, "UPDATE read_models SET projection_version = 9")

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, ORDERS) == []
    assert "Replay needed: order_view is live in version 9" in caplog.text


# --- the cache ------------------------------------------------------------------------------------


async def test_the_cache_is_brought_up_to_the_row_and_list_pages_are_dropped(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED, CAPTURED, PAID)
    lease, page_lease = await cache.look_up(order_id), await cache.look_up_list(USER)
    assert isinstance(lease, Lease)
    assert isinstance(page_lease, Lease)
    await cache.fill(order_id, lease, 1, USER, b"old")
    await cache.fill_list(USER, page_lease, CachedList(b"1:0", "", b"[]"))

    await advance_all(projector_engine, cache)

    cached = await cache.look_up(order_id)
    assert isinstance(cached, CachedOrder)
    assert cached.version == 3
    assert b'"version":3' in cached.document
    assert isinstance(await cache.look_up_list(USER), Lease)


async def test_a_projection_that_lags_does_not_take_the_cache_back(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED)
    lease = await cache.look_up(order_id)
    assert isinstance(lease, Lease)
    await cache.fill(order_id, lease, 5, USER, b"newer")

    await advance_all(projector_engine, cache)

    assert await cache.look_up(order_id) == CachedOrder(USER, 5, b"newer")
    await cache.refresh([Entry(order_id, 6, USER, b"newest")])


# --- poison ---------------------------------------------------------------------------------------


async def test_an_unknown_event_parks_its_stream_and_no_other(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, CAPTURED, POISON, PAID)
    good = await given_order(web_engine, PLACED)

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, PARKED) == [(name, bad, 3, 2) for name in sorted(PROJECTIONS)]
    assert set(await rows(web_engine, ORDERS)) == {(bad, "PENDING", 2), (good, "PENDING", 1)}
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 2, 2498)]
    assert await rows(web_engine, POSITIONS) == [(5,), (0,), (0,), (0,)]


async def test_later_events_of_a_parked_stream_wait_with_it(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    await given_order(web_engine, CAPTURED, stream_id=bad, expected=2)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, ORDERS) == [(bad, "PENDING", 1)]
    assert await rows(web_engine, POSITIONS) == [(3,), (0,), (0,), (0,)]


async def test_a_row_that_the_database_refuses_parks_its_stream_and_no_other(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    placed_by_other = OrderPlaced(OTHER_USER, "USD", (PEN,), 0, 0, 1998)
    await run(
        projector_engine,
        f"ALTER TABLE read_models.customer_summary_1 ADD CHECK (user_id <> '{OTHER_USER}')",
    )
    good = await given_order(web_engine, PLACED, CAPTURED)
    bad = await given_order(web_engine, placed_by_other, CAPTURED)

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, PARKED) == [("customer_summary", bad, 1, 0)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {good, bad}


async def test_a_flood_of_parkings_stops_the_partition(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.settings.PARKINGS_PER_MINUTE_MAX", 3)
    for _ in range(4):
        await given_order(web_engine, PLACED, POISON)

    with pytest.raises(TooManyParkings, match="Cannot go on with order_view in partition 0"):
        await advance(projector_engine, cache, "order_view", 0)

    assert await rows(web_engine, POSITIONS) == [(0,), (0,), (0,), (0,)]
    assert await rows(web_engine, PARKED) == []


# --- events that kill -----------------------------------------------------------------------------

WORKER = """
import asyncio, os, signal, sys
from dataclasses import replace
from order_service.cache import OrderCache
from order_service.db import PROJECTOR, create_engine
from order_service.redis_client import connect
from order_service.settings import Settings
from projections.advance import advance
from projections.registry import PROJECTIONS

def deadly(change):
    if str(change[1].id) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(change)

real = PROJECTIONS["order_view"].rows
PROJECTIONS["order_view"] = replace(PROJECTIONS["order_view"], rows=deadly)

async def main():
    settings = Settings()
    engine = create_engine(settings, PROJECTOR, application_name="test-worker")
    redis = connect(settings)
    cache = OrderCache(redis, 300)
    while await advance(engine, cache, "order_view", 0, redelivered=sys.argv[2] == "redelivered"):
        pass
    await redis.aclose()
    await engine.dispose()

asyncio.run(main())
"""


def work(settings: Settings, deadly: UUID, delivery: str) -> int:
    """A worker process of its own; returns its exit code."""
    environment = {
        name: str(value) for name, value in settings.model_dump(mode="json").items() if value
    }
    environment |= {"ALLOWED_ORIGINS_RAW": settings.ALLOWED_ORIGINS_RAW, "PATH": ""}
    environment["SELF_SERVICE_TRANSITIONS"] = ""
    command = [sys.executable, "-c", WORKER, str(deadly), delivery]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode


async def test_an_event_that_kills_its_worker_is_parked_after_three_tries(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache, settings: Settings
) -> None:
    good = await given_order(web_engine, PLACED)
    deadly = await given_order(web_engine, PLACED)
    last = await given_order(web_engine, PLACED)

    exits = [work(settings, deadly, "first")]
    exits += [work(settings, deadly, "redelivered") for _ in range(4)]

    assert exits == [-signal.SIGKILL] * 4 + [0]
    assert await rows(web_engine, PARKED) == [("order_view", deadly, 1, 0)]
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {good, last}
    suspects = "SELECT DISTINCT suspect_position, suspect_tries FROM checkpoints"
    assert await rows(web_engine, suspects) == [(None, 0)]


async def test_a_redelivered_task_for_harmless_events_leaves_no_suspicion(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED, CAPTURED, PAID)

    assert await advance(projector_engine, cache, "order_view", 0, redelivered=True) is False

    suspects = "SELECT DISTINCT suspect_position, suspect_tries FROM checkpoints"
    assert await rows(web_engine, suspects) == [(None, 0)]
    assert await rows(web_engine, POSITIONS) == [(3,), (0,), (0,), (0,)]


# --- retry and skip -------------------------------------------------------------------------------


async def test_a_retry_after_the_cause_is_gone_applies_everything_and_unparks(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await run(
        projector_engine,
        "ALTER TABLE read_models.customer_summary_1 ADD CONSTRAINT small CHECK (spent_minor < 9)",
    )
    order_id = await given_order(web_engine, PLACED, CAPTURED, PAID)
    await advance_all(projector_engine, cache)
    assert await rows(web_engine, PARKED) == [("customer_summary", order_id, 2, 1)]
    await run(projector_engine, "ALTER TABLE read_models.customer_summary_1 DROP CONSTRAINT small")

    projection = PROJECTIONS["customer_summary"]
    assert await dead_letters.retry(projector_engine, cache, projection, order_id) is True

    assert await rows(web_engine, PARKED) == []
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert (await verified(projector_engine)).agree


async def test_a_retry_that_fails_again_leaves_the_stream_parked(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    retried = await dead_letters.retry(projector_engine, cache, PROJECTIONS["order_view"], bad)

    assert retried is False
    assert ("order_view", bad, 2, 1) in await rows(web_engine, PARKED)


async def test_a_skipped_event_is_left_out_and_the_stream_goes_on(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON, CAPTURED, PAID)
    await advance_all(projector_engine, cache)

    for projection in PROJECTIONS.values():
        assert await dead_letters.skip(projector_engine, cache, projection, bad, "never meant")

    assert await rows(web_engine, PARKED) == []
    assert await rows(web_engine, ORDERS) == [(bad, "PAID", 4)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    await given_order(web_engine, PLACED, partition=0)
    await advance_all(projector_engine, cache)
    assert (await verified(projector_engine)).agree


async def test_only_a_parked_stream_can_be_retried(
    projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    with pytest.raises(dead_letters.NotParked, match="order_view has not parked stream"):
        await dead_letters.retry(projector_engine, cache, PROJECTIONS["order_view"], order_id_in(0))
