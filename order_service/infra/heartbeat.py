"""Heartbeats: each process writes one to Redis every few seconds, under a key that expires.

They show operators which processes run; nothing else depends on them. Without Redis no process
waits or fails, and none is listed.
"""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson

from order_service import limits
from order_service.infra.redis import Redis, RedisGate, RedisUnavailable, connect
from order_service.settings import Settings

# A sorted set of the keys, scored by last heartbeat: listing them needs no scan of all of Redis.
_INDEX = "processes"


def _no_members() -> dict[str, Any]:
    return {}


class Heartbeat:
    """One per process."""

    def __init__(
        self, redis: Redis, role: str, more: Callable[[], Mapping[str, Any]] = _no_members
    ) -> None:
        """`more` is called at each heartbeat and returns further members of its JSON."""
        self._redis = redis
        self._gate = RedisGate(redis)
        self._more = more
        self._process = {
            "role": role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "parent": os.getppid(),
            "started_at": datetime.now(UTC),
        }
        self._key = f"process:{self._process['host']}:{os.getpid()}:{role}"

    async def beat_for_ever(self) -> None:
        """The background task; it ends only when cancelled."""
        while True:
            with suppress(RedisUnavailable):
                await self._gate.run(self._beat)
            await asyncio.sleep(limits.HEARTBEAT_INTERVAL_S)

    async def withdraw(self) -> None:
        """Deletes the key when the process ends, so that it is no longer listed."""
        with suppress(RedisUnavailable):
            await self._gate.run(lambda: self._redis.unlink(self._key))

    async def _beat(self) -> None:
        now = datetime.now(UTC)
        memory_mb = round(_memory_bytes() / 1_000_000, 1)
        process = {**self._process, "seen_at": now, "memory_mb": memory_mb, **self._more()}
        value = orjson.dumps(process, option=orjson.OPT_UTC_Z)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(self._key, value, ex=limits.HEARTBEAT_TTL_S)
        pipeline.zadd(_INDEX, {self._key: now.timestamp()})
        pipeline.zremrangebyscore(_INDEX, 0, now.timestamp() - limits.HEARTBEAT_FORGOTTEN_S)
        await pipeline.execute()


def _memory_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@asynccontextmanager
async def heartbeat(settings: Settings, role: str) -> AsyncIterator[None]:
    """Inside the block this process writes heartbeats, on its own Redis connection."""
    redis = connect(settings)
    try:
        async with beat(Heartbeat(redis, role)):
            yield
    finally:
        await redis.aclose()


@asynccontextmanager
async def beat(heartbeat: Heartbeat) -> AsyncIterator[None]:
    """Inside the block `heartbeat` is written."""
    task = asyncio.create_task(heartbeat.beat_for_ever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await heartbeat.withdraw()


async def read_all(redis: Redis) -> list[dict[str, Any]]:
    """The last heartbeat of each process, sorted by role, host and pid. Raises RedisError,
    OSError."""
    newest = await redis.zrevrange(_INDEX, 0, limits.HEARTBEAT_SHOWN_MAX - 1)
    values = await redis.mget(cast(list[bytes], newest)) if newest else ()
    heartbeats = [orjson.loads(value) for value in values if value is not None]
    return sorted(heartbeats, key=lambda one: (one["role"], one["host"], one["pid"]))
