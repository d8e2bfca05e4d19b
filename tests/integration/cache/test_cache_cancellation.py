"""Cancelled callers of the cache do no harm."""

import asyncio
import random
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from order_service import limits
from order_service.cache.order_cache import Lease, OrderCache
from tests.support.read_side.cached import ORDER, cached, entry, filled


@pytest.mark.fuzz
async def test_a_cancelled_look_up_never_causes_a_reply_for_another_key(
    cache: OrderCache, random_seed: int
) -> None:
    orders = [uuid4() for _ in range(40)]
    for order_id in orders:
        await filled(cache, 1, order_id)
    chance = random.Random(random_seed)

    async def impatient(order_id: UUID) -> None:
        try:
            async with asyncio.timeout(chance.random() * 0.004):
                assert await cache.look_up(order_id) in (cached(1, order_id), None)
        except TimeoutError:
            pass

    for _ in range(20):
        await asyncio.gather(*(impatient(order_id) for order_id in orders))

    assert [await cache.look_up(o) for o in orders] == [cached(1, o) for o in orders]


@pytest.mark.parametrize("connected", [True, False])
async def test_a_cancellation_is_never_swallowed(
    cache: OrderCache, redis: Redis, connected: bool
) -> None:
    """A cancelled task ends, at whatever step the cancellation arrives (see `cancellable`)."""
    not_cancelled = []
    for steps in range(60):
        if not connected:
            await redis.connection_pool.disconnect()
        task = asyncio.create_task(cache.look_up(ORDER))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled = task.cancel()  # False if the task has already ended
        await asyncio.wait((task,))
        if cancelled and not task.cancelled():
            not_cancelled.append(steps)

    assert not_cancelled == []


async def test_cancelled_callers_release_their_connections(cache: OrderCache, redis: Redis) -> None:
    for _ in range(5):
        tasks = [asyncio.create_task(cache.look_up(uuid4())) for _ in range(200)]
        await asyncio.sleep(0.002)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    found = await asyncio.gather(*(cache.look_up(uuid4()) for _ in range(limits.REDIS_POOL_SIZE)))

    assert all(isinstance(lease, Lease) for lease in found)


async def test_a_cancelled_refresh_is_retried(cache: OrderCache) -> None:
    await filled(cache, 1)
    writer = asyncio.create_task(cache.refresh([entry(2)]))
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)

    assert await cache.look_up(ORDER) != cached(1)  # unknown whether Redis received it
    await cache.retry_stale()
    assert await cache.look_up(ORDER) != cached(1)
