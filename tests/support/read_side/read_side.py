"""What tests of the read side share: bring it up to the log, look at it, verify it, rebuild it."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.domain.events import OrderEvent
from order_service.infra.postgres import incarnation
from order_service.settings import Settings
from projections.loop.advance import advance
from projections.loop.advance_batches import Batches
from projections.operators.requests import claim
from projections.operators.work import retry_or_skip
from projections.read_models.registry import PROJECTIONS
from projections.replay import replay
from projections.replay.verify import Findings, verify_partition
from tests.support.log.given_log import RawEvent, given_order

PARTITIONS = 4
TTL_S = 300
ORDERS = "SELECT order_id, status, version FROM read_models.order_view ORDER BY order_id"
CUSTOMERS = "SELECT user_id, currency, orders, spent_minor FROM read_models.customer_summary"
POSITIONS = "SELECT position FROM checkpoints WHERE name = 'order_view' ORDER BY partition"


async def order_cache(redis: Redis, engine: AsyncEngine) -> OrderCache:
    return OrderCache(redis, TTL_S, str(await incarnation(engine)))


async def advance_all(engine: AsyncEngine, cache: OrderCache) -> None:
    """Every live read model stands at the log's head, parked streams aside; as workers do it."""
    batches = Batches(engine, cache)
    while await batches.run():
        pass
    for name, partition in sorted(batches.one_by_one):
        while await advance(engine, cache, name, partition):
            pass


async def rows(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in (await connection.execute(text(sql))).all()]


async def run(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


async def verified(engine: AsyncEngine) -> Findings:
    """The read models beside a fold of the log, all together."""
    everything = Findings()
    for projection in PROJECTIONS.values():
        for partition in range(PARTITIONS):
            part = await verify_partition(engine, projection, partition, PARTITIONS)
            everything.rows += part.rows
            everything.wrong += part.wrong
            everything.differences += part.differences
            everything.parked += part.parked
    return everything


async def replayed(settings: Settings, *words: str) -> int:
    """The command's exit code."""
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return await replay.run(parser.parse_args(words), settings)


@asynccontextmanager
async def operators_served(
    settings: Settings, engine: AsyncEngine, cache: OrderCache
) -> AsyncIterator[None]:
    """What operators ask for inside the block is done in the test's own process, but for rebuilds,
    which wait."""

    async def serve() -> None:
        while True:
            for asked in await claim(engine):
                if asked.kind == "rollback":
                    words = ("--rollback", asked.projection, "--request", str(asked.request_id))
                    await replayed(settings, *words)
                elif asked.kind != "rebuild":
                    await retry_or_skip(engine, cache, asked)
            await asyncio.sleep(0.02)

    serving = asyncio.create_task(serve())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait((serving,))


@dataclass(frozen=True)
class ReadSide:
    """The log and the read models of one database, each reached in the role that works on it."""

    web_engine: AsyncEngine
    projector_engine: AsyncEngine
    cache: OrderCache

    async def given(self, *events: OrderEvent | RawEvent, partition: int = 0) -> UUID:
        """A new order in the log; no read model knows it yet."""
        return await given_order(self.web_engine, *events, partition=partition)

    async def advance(self) -> None:
        await advance_all(self.projector_engine, self.cache)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await rows(self.web_engine, sql)

    async def run(self, sql: str) -> None:
        await run(self.projector_engine, sql)

    async def verified(self) -> Findings:
        return await verified(self.projector_engine)
