"""Garbage under the cache's keys is never served, and is overwritten."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis

from order_service.cache.entries import ENTRY_FORMAT
from order_service.cache.order_cache import Lease, OrderCache
from tests.support.read_side.cached import ORDER, OWNER, cached, entry, fill, filled, leased


async def put_list(redis: Redis, key: str) -> None:
    await redis.rpush(key, "a", "b")


async def put_text(redis: Redis, key: str) -> None:
    await redis.set(key, "{broken")


async def put_empty(redis: Redis, key: str) -> None:
    await redis.set(key, "")


async def put_other_format(redis: Redis, key: str) -> None:
    await redis.set(key, f"{ENTRY_FORMAT + 1}:{ORDER.hex}:1:{OWNER.hex}\n{{}}")


async def put_other_order(redis: Redis, key: str) -> None:
    await redis.set(key, f"{ENTRY_FORMAT}:{OWNER.hex}:1:{OWNER.hex}\n{{}}")


async def put_no_version(redis: Redis, key: str) -> None:
    await redis.set(key, f"{ENTRY_FORMAT}:{ORDER.hex}:x:{OWNER.hex}\n{{}}")


GARBAGE = [put_list, put_text, put_empty, put_other_format, put_other_order, put_no_version]


@pytest.mark.parametrize("put", GARBAGE)
async def test_garbage_is_a_miss_and_is_overwritten(cache, redis, put, caplog) -> None:  # type: ignore[no-untyped-def]
    await put(redis, f"order:{{{ORDER}}}")
    await filled(cache, 1)

    assert await cache.look_up(ORDER) == cached(1)
    assert caplog.text.count("not a cache entry") == 1


@pytest.mark.parametrize("put", GARBAGE)
async def test_a_refresh_deletes_garbage(cache, redis, put) -> None:  # type: ignore[no-untyped-def]
    await put(redis, f"order:{{{ORDER}}}")
    await cache.refresh([entry(1)])

    assert await redis.dbsize() == 0


@pytest.mark.parametrize("put", GARBAGE)
async def test_a_fill_overwrites_garbage(cache, redis, put) -> None:  # type: ignore[no-untyped-def]
    lease = await leased(cache)
    await put(redis, f"order:{{{ORDER}}}")
    await fill(cache, lease, 1)

    assert await cache.look_up(ORDER) == cached(1)


async def test_a_lease_key_of_another_type_is_deleted(cache: OrderCache, redis: Redis) -> None:
    await redis.rpush(f"order:{{{ORDER}}}:lease", "x")

    assert await cache.look_up(ORDER) is None
    await filled(cache, 1)
    assert await cache.look_up(ORDER) == cached(1)


async def test_a_reply_that_is_for_another_key_is_never_served(
    cache: OrderCache, redis: Redis
) -> None:
    """A damaged value with a valid prefix stands for any reply to another command."""
    await redis.set(f"order:{{{ORDER}}}", f"{ENTRY_FORMAT}:{ORDER.hex}:1:not-an-owner\n{{}}")

    assert await cache.look_up(ORDER) is None
    await cache.retry_stale()
    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_every_script_is_loaded_again_after_a_script_flush(
    cache: OrderCache, redis: Redis
) -> None:
    await redis.script_flush()
    lease = await leased(cache)
    await redis.script_flush()
    await fill(cache, lease, 1)
    await redis.script_flush()
    await cache.refresh([entry(2), entry(2, uuid4())])

    assert await cache.look_up(ORDER) == cached(2)
