"""Fixtures: a cache on the tests' shared Redis; two caches and a `control` client on a private
server that a test may stop."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.infra.redis import connect
from order_service.settings import Settings
from tests.support.read_side.cached import TTL_S, a_process
from tests.support.servers.private_redis import PrivateRedis

# Long enough that no call times out on a busy machine: results depend on the order of steps only.
PATIENCE_S = 5.0


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = connect(Settings(), timeout_s=PATIENCE_S)  # type: ignore[call-arg]
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def cache(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OrderCache]:
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", PATIENCE_S)
    cache = OrderCache(redis, TTL_S, "")
    cache.start()
    yield cache
    await cache.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def writer(server: PrivateRedis) -> AsyncIterator[OrderCache]:
    async with a_process(server.settings()) as (cache, _):
        yield cache


@pytest.fixture
async def reader(server: PrivateRedis) -> AsyncIterator[OrderCache]:
    async with a_process(server.settings()) as (cache, _):
        yield cache


@pytest.fixture
async def control(server: PrivateRedis) -> AsyncIterator[Redis]:
    """A client with an operator's commands, like redis-cli."""
    client = connect(server.settings(), timeout_s=5)
    yield client
    await client.aclose()
