"""Faults of redis-py do not reach callers: swallowed cancellations, errors on closing."""

import asyncio

import pytest
from redis.asyncio import BlockingConnectionPool, Redis

from order_service.infra.redis import RedisGate, RedisUnavailable, cancellable


class UnclosablePool(BlockingConnectionPool):
    """Its connections cannot be closed in time."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        raise TimeoutError


async def test_a_cancellation_that_redis_py_swallows_still_ends_the_task() -> None:
    begun = asyncio.Event()

    async def swallows_cancellation() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    task = asyncio.create_task(cancellable(swallows_cancellation))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_redis_whose_connections_cannot_be_closed_counts_as_away() -> None:
    gate = RedisGate(Redis.from_pool(UnclosablePool()))

    async def failing() -> None:
        raise ConnectionResetError

    with pytest.raises(RedisUnavailable):
        await gate.run(failing)
    assert not gate.is_open
