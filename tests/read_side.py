"""What tests of the read side share: bring it up to the log, look at it, verify it."""

from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache import OrderCache
from projections.advance import advance
from projections.registry import PROJECTIONS
from projections.verify import Findings, verify_partition

PARTITIONS = 4
TTL_S = 300


def order_cache(redis: Redis) -> OrderCache:
    return OrderCache(redis, TTL_S)


async def advance_all(engine: AsyncEngine, cache: OrderCache) -> None:
    """Every live read model stands at the log's head, parked streams aside."""
    for name in PROJECTIONS:
        for partition in range(PARTITIONS):
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
