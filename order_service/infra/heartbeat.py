"""Which processes there are: each says so in Redis every few seconds, under a key that goes when it
does not.

For people who look; nothing else goes by it. Without Redis nobody waits and nothing fails: then
nobody is seen.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from redis.asyncio import Redis

from order_service import limits
from order_service.infra.redis import RedisAway, RedisGate, connect
from order_service.settings import Settings
from order_service.telemetry.process import memory_bytes

# The keys by when each was written last, so that they are found without a look at all of Redis.
_INDEX = "processes"


def _nothing() -> dict[str, Any]:
    return {}


class Presence:
    """What one process says of itself."""

    def __init__(
        self, redis: Redis, role: str, more: Callable[[], Mapping[str, Any]] = _nothing
    ) -> None:
        """`more`: what else there is to be said, at each time."""
        self._redis = redis
        self._gate = RedisGate(redis)
        self._more = more
        self._said = {
            "role": role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "parent": os.getppid(),
            "started_at": datetime.now(UTC),
        }
        self._key = f"process:{self._said['host']}:{os.getpid()}:{role}"

    async def say_for_ever(self) -> None:
        """The background task; ends by cancellation only."""
        while True:
            with suppress(RedisAway):
                await self._gate.run(self._say)
            await asyncio.sleep(limits.PRESENCE_INTERVAL_S)

    async def withdraw(self) -> None:
        """It ends: nobody need wait until its key does."""
        with suppress(RedisAway):
            await self._gate.run(lambda: self._redis.unlink(self._key))

    async def _say(self) -> None:
        now = datetime.now(UTC)
        memory_mb = round(memory_bytes() / 1_000_000, 1)
        said = {**self._said, "seen_at": now, "memory_mb": memory_mb, **self._more()}
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(
            self._key, orjson.dumps(said, option=orjson.OPT_UTC_Z), ex=limits.PRESENCE_TTL_S
        )
        pipeline.zadd(_INDEX, {self._key: now.timestamp()})
        pipeline.zremrangebyscore(_INDEX, 0, now.timestamp() - limits.PRESENCE_FORGOTTEN_S)
        await pipeline.execute()


@asynccontextmanager
async def present(settings: Settings, role: str) -> AsyncIterator[None]:
    """Inside the block this process is seen, by a client of Redis of its own."""
    redis = connect(settings)
    try:
        async with said(Presence(redis, role)):
            yield
    finally:
        await redis.aclose()


@asynccontextmanager
async def said(presence: Presence) -> AsyncIterator[None]:
    """Inside the block this process is seen."""
    saying = asyncio.create_task(presence.say_for_ever())
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.wait((saying,))
        await presence.withdraw()


async def seen(redis: Redis) -> list[dict[str, Any]]:
    """What all processes last said, by role. Raises RedisError, OSError."""
    newest = await redis.zrevrange(_INDEX, 0, limits.PRESENCE_SHOWN_MAX - 1)
    values = await redis.mget(cast(list[bytes], newest)) if newest else ()
    found = [orjson.loads(value) for value in values if value is not None]
    return sorted(found, key=lambda one: (one["role"], one["host"], one["pid"]))
