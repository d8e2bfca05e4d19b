"""What tests of the cache share: an order, entries of it, and a process's cache to put them in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis

from order_service.cache.order_cache import CachedOrder, Entry, Lease, OrderCache
from order_service.infra.redis import connect
from order_service.settings import Settings

OWNER = UUID("00000000-0000-4000-8000-00000000000a")
ORDER = UUID("00000000-0000-4000-8000-00000000000b")
TTL_S = 300


def entry(version: int, order_id: UUID = ORDER) -> Entry:
    return Entry(order_id, version, OWNER, f"{order_id} at {version}".encode())


def cached(version: int, order_id: UUID = ORDER) -> CachedOrder:
    return CachedOrder(OWNER, version, f"{order_id} at {version}".encode())


async def leased(cache: OrderCache, order_id: UUID = ORDER) -> Lease:
    found = await cache.look_up(order_id)
    assert isinstance(found, Lease)
    return found


async def fill(cache: OrderCache, lease: Lease, version: int, order_id: UUID = ORDER) -> None:
    kept = entry(version, order_id)
    await cache.fill(order_id, lease, version, kept.owner, kept.document)


async def filled(cache: OrderCache, version: int, order_id: UUID = ORDER) -> None:
    await fill(cache, await leased(cache, order_id), version, order_id)


@asynccontextmanager
async def a_process(settings: Settings) -> AsyncIterator[tuple[OrderCache, Redis]]:
    """A cache and its client, as each process has them."""
    redis = connect(settings)
    cache = OrderCache(redis, TTL_S, "")
    cache.start()
    yield cache, redis
    await cache.close()
    await redis.aclose()
