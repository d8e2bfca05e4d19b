"""The cache on a real Redis: look-ups, fills and refreshes; it never returns older versions."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from order_service import limits
from order_service.cache.entries import ENTRY_FORMAT
from order_service.cache.order_cache import CachedList, CachedOrder, Lease, OrderCache
from order_service.settings import Settings
from tests.support.read_side.cached import (
    ORDER,
    OWNER,
    TTL_S,
    a_process,
    cached,
    entry,
    fill,
    filled,
    leased,
)

# --- look up and fill ---


async def test_a_filled_order_is_a_hit(cache: OrderCache) -> None:
    document = b'{"note": "bytes \xc3\xa9\n as they are"}\n\x00\xff'
    await cache.fill(ORDER, await leased(cache), 7, OWNER, document)

    assert await cache.look_up(ORDER) == CachedOrder(OWNER, 7, document)


async def test_a_fill_sets_a_time_to_live_and_deletes_the_lease(
    cache: OrderCache, redis: Redis
) -> None:
    await filled(cache, 1)

    assert await redis.keys("*") == [f"order:{{{ORDER}}}".encode()]
    assert TTL_S - 2 <= await redis.ttl(f"order:{{{ORDER}}}") <= TTL_S


async def test_concurrent_readers_that_miss_share_the_lease(
    cache: OrderCache, redis: Redis
) -> None:
    first, second = await leased(cache), await leased(cache)

    assert first == second
    assert 0 < await redis.pttl(f"order:{{{ORDER}}}:lease") <= limits.CACHE_LEASE_MS


async def test_a_lease_fills_once(cache: OrderCache) -> None:
    first, second = await leased(cache), await leased(cache)
    await fill(cache, first, 1)
    await fill(cache, second, 2)

    assert await cache.look_up(ORDER) == cached(1)


async def test_a_lease_of_one_order_does_not_fill_another(cache: OrderCache) -> None:
    other = uuid4()
    lease = await leased(cache)
    await leased(cache, other)
    await fill(cache, lease, 1, other)

    assert isinstance(await cache.look_up(other), Lease)


async def test_a_fill_never_replaces_a_newer_entry(cache: OrderCache, redis: Redis) -> None:
    lease = await leased(cache)
    newer = entry(10)
    value = f"{ENTRY_FORMAT}:{ORDER.hex}:10:{OWNER.hex}\n".encode() + newer.document
    await redis.set(f"order:{{{ORDER}}}", value)
    await fill(cache, lease, 9)

    assert await cache.look_up(ORDER) == cached(10)


@pytest.mark.parametrize("loss", ["expired or evicted", "flushed"])
async def test_a_fill_without_its_lease_is_refused(
    cache: OrderCache, redis: Redis, loss: str
) -> None:
    lease = await leased(cache)
    await (redis.flushdb() if loss == "flushed" else redis.delete(f"order:{{{ORDER}}}:lease"))
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_a_lease_expires(cache: OrderCache, redis: Redis) -> None:
    lease = await leased(cache)
    await redis.pexpire(f"order:{{{ORDER}}}:lease", 1)
    await asyncio.sleep(0.01)
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


# --- refresh ---


async def test_a_document_read_before_a_write_cannot_be_filled_after_it(cache: OrderCache) -> None:
    """A stale fill: a reader reads 1, a writer commits and refreshes 2, the reader fills 1."""
    lease = await leased(cache)
    await cache.refresh([entry(2)])
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_a_refresh_replaces_an_older_entry_and_renews_its_time_to_live(
    cache: OrderCache, redis: Redis
) -> None:
    await filled(cache, 9)
    await redis.expire(f"order:{{{ORDER}}}", 5)
    await cache.refresh([entry(10)])  # as text, "10" would be older than "9"

    assert await cache.look_up(ORDER) == cached(10)
    assert await redis.ttl(f"order:{{{ORDER}}}") > 5


async def test_a_late_refresh_of_an_older_version_changes_nothing(cache: OrderCache) -> None:
    await filled(cache, 10)
    await cache.refresh([entry(9)])

    assert await cache.look_up(ORDER) == cached(10)


async def test_a_refresh_never_fills(cache: OrderCache, redis: Redis) -> None:
    await cache.refresh([entry(1), entry(2, uuid4())])

    assert await redis.dbsize() == 0


async def test_one_refresh_updates_many_orders(cache: OrderCache) -> None:
    orders = [uuid4() for _ in range(500)]
    for order_id in orders[:3]:
        await filled(cache, 1, order_id)
    await cache.refresh([entry(2, order_id) for order_id in orders])

    assert [await cache.look_up(order_id) for order_id in orders[:3]] == [
        cached(2, order_id) for order_id in orders[:3]
    ]


async def test_a_refresh_also_deletes_the_lease_of_an_existing_entry(
    cache: OrderCache, redis: Redis
) -> None:
    """Otherwise the entry could be evicted, and the reader could fill its older document."""
    lease = await leased(cache)
    await redis.set(f"order:{{{ORDER}}}", f"{ENTRY_FORMAT}:{ORDER.hex}:1:{OWNER.hex}\nx")
    await cache.refresh([entry(2)])
    await redis.delete(f"order:{{{ORDER}}}")
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


# --- lists ---


@pytest.mark.parametrize("link", ["", '</orders/?after=é>; rel="next"'])
async def test_a_filled_list_is_a_hit(cache: OrderCache, redis: Redis, link: str) -> None:
    page = CachedList(b"generation 3\n\x00:12,4", link, b"[1,\n2]")
    lease = await cache.look_up_list(OWNER)
    assert isinstance(lease, Lease)
    await cache.fill_list(OWNER, lease, page)

    assert await cache.look_up_list(OWNER) == page
    assert await redis.ttl(f"orders-of:{{{OWNER}}}") <= limits.LIST_CACHE_TTL_S


async def test_a_dropped_list_is_a_miss_and_an_older_page_cannot_be_filled(
    cache: OrderCache,
) -> None:
    page = CachedList(b"", "", b"[]")
    early = await cache.look_up_list(OWNER)
    assert isinstance(early, Lease)
    await cache.fill_list(OWNER, early, page)
    await cache.drop_lists([OWNER, uuid4()])
    late = await cache.look_up_list(OWNER)
    assert isinstance(late, Lease)
    await cache.drop_lists([OWNER])
    await cache.fill_list(OWNER, late, page)

    assert isinstance(await cache.look_up_list(OWNER), Lease)


# --- for verify ---


async def test_entries_returns_every_cached_order_and_nothing_else(
    cache: OrderCache, redis: Redis
) -> None:
    orders = {uuid4() for _ in range(1_200)}  # more than two pages of SCAN
    for order_id in orders:
        kept = entry(3, order_id)
        value = f"{ENTRY_FORMAT}:{order_id.hex}:3:{OWNER.hex}\n".encode() + kept.document
        await redis.set(f"order:{{{order_id}}}", value)
    await leased(cache)
    await cache.look_up_list(OWNER)
    await redis.rpush(f"order:{{{uuid4()}}}", "a", "b")
    await redis.set("order:{no-uuid}", "{broken")
    await redis.set(f"order:{{{uuid4()}}}", "{broken")

    found = [(order_id, kept) async for order_id, kept in cache.entries()]

    assert dict(found) == {order_id: cached(3, order_id) for order_id in orders}


async def test_delete_deletes_entry_and_lease(cache: OrderCache, redis: Redis) -> None:
    other = uuid4()
    await filled(cache, 1)
    await leased(cache, other)
    await cache.delete([ORDER, other])

    assert await redis.dbsize() == 0


# --- event loops ---


def test_the_cache_works_in_a_new_event_loop() -> None:
    """Like in a worker process, which creates its loop and its client after the fork."""

    async def work() -> object:
        async with a_process(Settings()) as (cache, _):  # type: ignore[call-arg]
            await filled(cache, 1, order_id := uuid4())
            return await cache.look_up(order_id) == cached(1, order_id)

    assert [asyncio.run(work()) for _ in range(2)] == [True, True]
