"""The loop that keeps read models up with the log: P4 and P8."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import settings as limits
from order_service.cache import OrderCache
from order_service.domain.events import OrderCanceled
from order_service.redis_client import connect
from order_service.settings import Settings
from projections import dead_letters
from projections.advance import advance
from projections.registry import PROJECTIONS
from projections.step import TooManyParkings
from tests.examples import CAPTURED, DISPATCHED, PAID, PLACED, SHIPPED, USER
from tests.given_log import RawEvent, given_order

ROOT = Path(__file__).parent.parent.parent
POISON = RawEvent("OrderFrobnicated", "{}")


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[OrderCache]:
    redis = connect(settings)
    yield OrderCache(redis, settings.CACHE_TTL_SECONDS)
    await redis.aclose()


async def advance_all(engine: AsyncEngine, cache: OrderCache) -> None:
    for name in PROJECTIONS:
        for partition in range(4):
            while await advance(engine, cache, name, partition):
                pass


async def rows(engine: AsyncEngine, sql: str) -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in (await connection.execute(text(sql))).all()]


ORDERS = "SELECT order_id, status, version FROM read_models.order_view ORDER BY order_id"
CUSTOMERS = "SELECT user_id, currency, orders, spent_minor FROM read_models.customer_summary"
SALES = "SELECT status, orders, revenue_minor, units FROM read_models.sales_by_day ORDER BY status"
POSITIONS = "SELECT position FROM checkpoints WHERE name = 'order_view' ORDER BY partition"
PARKED = "SELECT name, stream_id, version, last_version FROM dead_letters ORDER BY name"


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


async def test_two_workers_at_once_count_every_event_once(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    for _ in range(40):
        await given_order(web_engine, PLACED)

    async def work() -> None:
        for _ in range(20):
            await advance(projector_engine, cache, "customer_summary", 0)

    await asyncio.gather(work(), work(), work())
    while await advance(projector_engine, cache, "customer_summary", 0):
        pass

    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 40, 0)]


async def test_a_worker_that_is_turned_away_leaves_its_news_to_the_other(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    await given_order(web_engine, PLACED)
    async with projector_engine.begin() as holder:
        await holder.execute(
            text("SELECT 1 FROM checkpoints WHERE name = 'order_view' FOR UPDATE")
        )

        assert await advance(projector_engine, cache, "order_view", 0) is False

    assert await advance(projector_engine, cache, "order_view", 0) is False
    assert len(await rows(web_engine, ORDERS)) == 1


async def test_rows_and_checkpoint_go_back_together(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache, settings: Settings
) -> None:
    """A worker that dies between the rows and the commit leaves neither."""
    await given_order(web_engine, PLACED)
    async with projector_engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE read_models.customer_summary_1 ADD CONSTRAINT c CHECK (orders > 9)")
        )
        await connection.execute(
            text(
                "CREATE FUNCTION read_models.cut() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
            )
        )
        await connection.execute(text("ALTER TABLE read_models.customer_summary_1 DROP CONSTRAINT c"))
        await connection.execute(
            text(
                "CREATE TRIGGER cut AFTER INSERT ON read_models.customer_summary_1 "
                "EXECUTE FUNCTION read_models.cut()"
            )
        )
    pauses_cleared()
    with pytest.raises(Exception, match="connection|terminat"):
        await advance(projector_engine, cache, "customer_summary", 0)
    pauses_cleared()

    assert await rows(web_engine, CUSTOMERS) == []
    positions = "SELECT max(position) FROM checkpoints WHERE name = 'customer_summary'"
    assert await rows(web_engine, positions) == [(0,)]


def pauses_cleared() -> None:
    from projections.advance import _pauses

    for name in PROJECTIONS:
        for partition in range(4):
            _pauses.end(name, partition)
