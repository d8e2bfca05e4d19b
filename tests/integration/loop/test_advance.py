"""The loop that brings read models up to the log's head: P4."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.entries import CachedList, CachedOrder
from order_service.cache.order_cache import Entry, Lease, OrderCache
from order_service.infra.postgres import driver_connection
from projections.loop.advance import advance
from projections.loop.advance_batches import Batches
from projections.loop.checkpoints import behind
from projections.loop.pauses import pauses
from projections.read_models.registry import PROJECTIONS
from tests.support.log.examples import CAPTURED, PAID, PLACED, USER
from tests.support.log.given_log import POISON, given_order
from tests.support.read_side.read_side import CUSTOMERS, ORDERS, POSITIONS, advance_all, rows, run
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("patient")
SALES = "SELECT status, orders, revenue_minor, units FROM read_models.sales_by_day ORDER BY status"


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


async def test_checkpoints_at_different_positions_meet_and_count_every_event_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED)
    await advance(projector_engine, cache, "order_view", 0)
    await given_order(web_engine, CAPTURED, PAID, stream_id=order_id, expected=1)

    batches = Batches(projector_engine, cache)
    while await batches.run():
        pass

    assert batches.one_by_one == set()
    assert await rows(web_engine, ORDERS) == [(order_id, "PAID", 3)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert await rows(web_engine, SALES) == [("PAID", 1, 2498, 3)]


@pytest.fixture
def one_partition_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """No two partitions share a transaction."""
    monkeypatch.setattr("order_service.limits.ADVANCE_PARTITIONS", 1)


@pytest.mark.usefixtures("one_partition_a_transaction")
async def test_one_task_advances_partitions_that_share_no_transaction(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    for partition in (1, 3):
        await given_order(web_engine, PLACED, CAPTURED, PAID, partition=partition)

    assert not await Batches(projector_engine, cache).run()

    assert await rows(web_engine, POSITIONS) == [(0,), (3,), (0,), (3,)]


@pytest.mark.usefixtures("one_partition_a_transaction")
async def test_a_long_backlog_in_one_partition_delays_no_other(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.limits.ADVANCE_TIME_S", 0.0)
    monkeypatch.setattr("order_service.limits.ADVANCE_BATCH_EVENTS", 1)
    for partition in (0, 1, 2, 3):
        for _ in range(5):
            await given_order(web_engine, PLACED, partition=partition)

    for _ in range(4):
        assert await Batches(projector_engine, cache).run()

    assert await rows(web_engine, POSITIONS) == [(1,), (1,), (1,), (1,)]


@pytest.mark.usefixtures("one_partition_a_transaction")
async def test_a_failed_batch_is_left_to_advance_and_the_other_batches_continue(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    for partition in (0, 3):
        await given_order(web_engine, PLACED, partition=partition)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 ADD CHECK (partition <> 0)")

    batches = Batches(projector_engine, cache)
    assert not await batches.run()

    assert batches.one_by_one == {(name, 0) for name in PROJECTIONS}
    assert await rows(web_engine, POSITIONS) == [(0,), (0,), (0,), (1,)]


async def test_a_partition_with_a_failing_event_is_left_to_advance_and_the_others_continue(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, POISON, partition=1)
    sound = await given_order(web_engine, PLACED, partition=0)

    batches = Batches(projector_engine, cache)
    while await batches.run():
        pass

    assert batches.one_by_one == {(name, 1) for name in PROJECTIONS}
    assert await rows(web_engine, ORDERS) == [(sound, "PENDING", 1)]


async def test_an_aggregate_moves_with_its_order_and_leaves_no_empty_row(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED)
    await advance_all(projector_engine, cache)

    await given_order(web_engine, CAPTURED, PAID, stream_id=order_id, expected=1)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, SALES) == [("PAID", 1, 2498, 3)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]


async def test_a_doubled_hint_has_one_effect(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)

    await advance_all(projector_engine, cache)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 0)]


async def test_workers_at_once_count_every_event_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    async def write() -> None:
        for _ in range(30):
            await given_order(web_engine, PLACED)

    async def work() -> None:
        for _ in range(30):
            await advance(projector_engine, cache, "customer_summary", 0)

    await asyncio.gather(write(), work(), work(), work())
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 30, 0)]


async def test_a_worker_that_finds_the_checkpoint_locked_returns_at_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    async with projector_engine.begin() as holder:
        await holder.execute(text("SELECT FROM checkpoints WHERE name = 'order_view' FOR UPDATE"))

        more = await advance(projector_engine, cache, "order_view", 0)

    assert more is False
    assert await rows(web_engine, ORDERS) == []


async def test_events_appended_while_the_checkpoint_is_locked_are_projected(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """The holder of the lock projects the event whose hint another worker dropped."""
    first = await given_order(web_engine, PLACED)
    async with projector_engine.begin() as blocker:
        # Blocks the holder in the middle of its batch.
        await blocker.execute(text("LOCK TABLE read_models.order_view_1 IN SHARE MODE"))
        holder = asyncio.create_task(advance(projector_engine, cache, "order_view", 0))
        await eventually(lambda: rows(web_engine, "SELECT pid FROM pg_locks WHERE NOT granted"))
        second = await given_order(web_engine, PLACED)
        assert await advance(projector_engine, cache, "order_view", 0) is False

    if await holder:  # on a busy machine ADVANCE_TIME_S may be up
        assert await advance(projector_engine, cache, "order_view", 0) is False
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {first, second}


async def test_rows_and_checkpoint_are_rolled_back_together(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """If the connection dies between the rows and the commit, neither is stored."""
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


async def test_a_failed_partition_is_paused(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 RENAME TO away")
    with pytest.raises(DBAPIError):
        await advance(projector_engine, cache, "order_view", 0)

    await run(projector_engine, "ALTER TABLE read_models.away RENAME TO order_view_1")
    assert await advance(projector_engine, cache, "order_view", 0) is False
    assert await rows(web_engine, ORDERS) == []

    pauses.clear()
    await advance(projector_engine, cache, "order_view", 0)
    assert len(await rows(web_engine, ORDERS)) == 1


async def test_a_long_backlog_is_projected_by_several_tasks(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.limits.ADVANCE_TIME_S", 0.0)
    monkeypatch.setattr("order_service.limits.ADVANCE_BATCH_EVENTS", 2)
    for _ in range(3):
        await given_order(web_engine, PLACED)

    assert await advance(projector_engine, cache, "order_view", 0) is True
    assert await rows(web_engine, POSITIONS) == [(2,), (0,), (0,), (0,)]
    assert await advance(projector_engine, cache, "order_view", 0) is False


async def test_a_checkpoint_that_is_behind_is_found_without_a_hint(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED, partition=2)
    await advance(projector_engine, cache, "order_view", 2)

    async with driver_connection(projector_engine) as (_, driver):
        found = [(b.name, b.partition, b.position, b.free) for b in await behind(driver)]

    others = ("customer_summary", "sales_by_day", "sales_by_hour")
    assert found == [(name, 2, 0, True) for name in others]


async def test_a_locked_checkpoint_is_not_free_until_it_is_released(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    async with projector_engine.begin() as holder:
        await holder.execute(text("SELECT FROM checkpoints WHERE name = 'order_view' FOR UPDATE"))

        async with driver_connection(projector_engine) as (_, driver):
            held = [b.name for b in await behind(driver) if not b.free]

    await advance_all(projector_engine, cache)
    await given_order(web_engine, PLACED)
    async with driver_connection(projector_engine) as (_, driver):
        assert [b.free for b in await behind(driver)] == [True, True, True, True]
    assert held == ["order_view"]


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


async def test_a_lagging_projection_overwrites_no_newer_cache_entry(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    order_id = await given_order(web_engine, PLACED)
    lease = await cache.look_up(order_id)
    assert isinstance(lease, Lease)
    await cache.fill(order_id, lease, 5, USER, b"newer")

    await advance_all(projector_engine, cache)

    assert await cache.look_up(order_id) == CachedOrder(USER, 5, b"newer")
    await cache.refresh([Entry(order_id, 6, USER, b"newest")])
