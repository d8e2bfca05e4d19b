"""The cache on a real Redis: what it gives back, and that it never goes back in time."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import combinations
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from order_service import settings as limits
from order_service.cache import CachedList, CachedOrder, Entry, Lease, OrderCache
from order_service.redis_client import connect
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


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = connect(Settings())  # type: ignore[call-arg]
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def cache(redis: Redis) -> AsyncIterator[OrderCache]:
    cache = OrderCache(redis, TTL_S)
    cache.start()
    yield cache
    await cache.close()


# --- look up and fill ---


async def test_what_was_filled_is_found(cache: OrderCache) -> None:
    document = b'{"note": "bytes \xc3\xa9\n as they are"}\n\x00\xff'
    await cache.fill(ORDER, await leased(cache), 7, OWNER, document)

    assert await cache.look_up(ORDER) == CachedOrder(OWNER, 7, document)


async def test_a_filled_entry_has_a_time_to_live_and_leaves_no_lease(
    cache: OrderCache, redis: Redis
) -> None:
    await filled(cache, 1)

    assert await redis.keys("*") == [f"order:{{{ORDER}}}".encode()]
    assert TTL_S - 2 <= await redis.ttl(f"order:{{{ORDER}}}") <= TTL_S


async def test_readers_that_miss_together_share_the_lease(cache: OrderCache, redis: Redis) -> None:
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
    value = f"1:{ORDER.hex}:10:{OWNER.hex}\n".encode() + newer.document
    await redis.set(f"order:{{{ORDER}}}", value)
    await fill(cache, lease, 9)

    assert await cache.look_up(ORDER) == cached(10)


@pytest.mark.parametrize("loss", ["expired or evicted", "flushed"])
async def test_without_its_lease_a_fill_is_refused(
    cache: OrderCache, redis: Redis, loss: str
) -> None:
    lease = await leased(cache)
    await (redis.flushall() if loss == "flushed" else redis.delete(f"order:{{{ORDER}}}:lease"))
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_a_lease_ends_by_itself(cache: OrderCache, redis: Redis) -> None:
    lease = await leased(cache)
    await redis.pexpire(f"order:{{{ORDER}}}:lease", 1)
    await asyncio.sleep(0.01)
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


# --- refresh ---


async def test_what_was_read_before_a_write_does_not_fill_after_it(cache: OrderCache) -> None:
    """The stale fill: reads version 1, a writer commits and refreshes 2, the reader fills 1."""
    lease = await leased(cache)
    await cache.refresh([entry(2)])
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_a_refresh_replaces_an_older_entry_and_renews_its_time_to_live(
    cache: OrderCache, redis: Redis
) -> None:
    await filled(cache, 9)
    await redis.expire(f"order:{{{ORDER}}}", 5)
    await cache.refresh([entry(10)])  # 10 is newer than 9 as a number, not as a text

    assert await cache.look_up(ORDER) == cached(10)
    assert await redis.ttl(f"order:{{{ORDER}}}") > 5


async def test_a_late_refresh_of_an_older_version_changes_nothing(cache: OrderCache) -> None:
    await filled(cache, 10)
    await cache.refresh([entry(9)])

    assert await cache.look_up(ORDER) == cached(10)


async def test_a_refresh_never_fills(cache: OrderCache, redis: Redis) -> None:
    await cache.refresh([entry(1), entry(2, uuid4())])

    assert await redis.dbsize() == 0


async def test_one_refresh_serves_many_orders(cache: OrderCache) -> None:
    orders = [uuid4() for _ in range(500)]
    for order_id in orders[:3]:
        await filled(cache, 1, order_id)
    await cache.refresh([entry(2, order_id) for order_id in orders])

    assert [await cache.look_up(order_id) for order_id in orders[:3]] == [
        cached(2, order_id) for order_id in orders[:3]
    ]


async def test_a_refresh_ends_the_lease_beside_an_entry_too(
    cache: OrderCache, redis: Redis
) -> None:
    """Else the entry could be evicted and the reader fill what it read before the write."""
    lease = await leased(cache)
    await redis.set(f"order:{{{ORDER}}}", f"1:{ORDER.hex}:1:{OWNER.hex}\nx")
    await cache.refresh([entry(2)])
    await redis.delete(f"order:{{{ORDER}}}")
    await fill(cache, lease, 1)

    assert isinstance(await cache.look_up(ORDER), Lease)


# --- garbage ---


async def put_list(redis: Redis, key: str) -> None:
    await redis.rpush(key, "a", "b")


async def put_text(redis: Redis, key: str) -> None:
    await redis.set(key, "{broken")


async def put_empty(redis: Redis, key: str) -> None:
    await redis.set(key, "")


async def put_other_format(redis: Redis, key: str) -> None:
    await redis.set(key, f"2:{ORDER.hex}:1:{OWNER.hex}\n{{}}")


async def put_other_order(redis: Redis, key: str) -> None:
    await redis.set(key, f"1:{OWNER.hex}:1:{OWNER.hex}\n{{}}")


async def put_no_version(redis: Redis, key: str) -> None:
    await redis.set(key, f"1:{ORDER.hex}:x:{OWNER.hex}\n{{}}")


GARBAGE = [put_list, put_text, put_empty, put_other_format, put_other_order, put_no_version]


@pytest.mark.parametrize("put", GARBAGE)
async def test_garbage_is_a_miss_and_is_overwritten(cache, redis, put, caplog) -> None:  # type: ignore[no-untyped-def]
    await put(redis, f"order:{{{ORDER}}}")
    await filled(cache, 1)

    assert await cache.look_up(ORDER) == cached(1)
    assert caplog.text.count("not an entry") == 1


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


async def test_another_type_under_the_lease_heals(cache: OrderCache, redis: Redis) -> None:
    await redis.rpush(f"order:{{{ORDER}}}:lease", "x")

    assert await cache.look_up(ORDER) is None
    await filled(cache, 1)
    assert await cache.look_up(ORDER) == cached(1)


async def test_a_reply_that_is_for_another_key_is_never_served(
    cache: OrderCache, redis: Redis
) -> None:
    """Damage behind a good beginning stands for any reply that cannot be this entry."""
    await redis.set(f"order:{{{ORDER}}}", f"1:{ORDER.hex}:1:not-an-owner\n{{}}")

    assert await cache.look_up(ORDER) is None
    await cache.retry_stale()
    assert isinstance(await cache.look_up(ORDER), Lease)


async def test_every_script_survives_the_loss_of_all_scripts(
    cache: OrderCache, redis: Redis
) -> None:
    await redis.script_flush()
    lease = await leased(cache)
    await redis.script_flush()
    await fill(cache, lease, 1)
    await redis.script_flush()
    await cache.refresh([entry(2), entry(2, uuid4())])

    assert await cache.look_up(ORDER) == cached(2)


# --- lists ---


@pytest.mark.parametrize("link", ["", '</orders/?after=é>; rel="next"'])
async def test_a_list_is_found_as_it_was_filled(cache: OrderCache, redis: Redis, link: str) -> None:
    page = CachedList(b"generation 3\n\x00:12,4", link, b"[1,\n2]")
    lease = await cache.look_up_list(OWNER)
    assert isinstance(lease, Lease)
    await cache.fill_list(OWNER, lease, page)

    assert await cache.look_up_list(OWNER) == page
    assert await redis.ttl(f"orders-of:{{{OWNER}}}") <= limits.LIST_CACHE_TTL_S


async def test_a_dropped_list_is_gone_and_so_is_what_was_read_before(cache: OrderCache) -> None:
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


async def test_entries_gives_every_cached_order_and_nothing_else(
    cache: OrderCache, redis: Redis
) -> None:
    orders = {uuid4() for _ in range(1_200)}  # more than two pages of SCAN
    for order_id in orders:
        kept = entry(3, order_id)
        value = f"1:{order_id.hex}:3:{OWNER.hex}\n".encode() + kept.document
        await redis.set(f"order:{{{order_id}}}", value)
    await leased(cache)
    await cache.look_up_list(OWNER)
    await put_list(redis, f"order:{{{uuid4()}}}")
    await put_text(redis, "order:{no-uuid}")
    await put_text(redis, f"order:{{{uuid4()}}}")

    found = [(order_id, kept) async for order_id, kept in cache.entries()]

    assert dict(found) == {order_id: cached(3, order_id) for order_id in orders}


async def test_delete_ends_entry_and_lease(cache: OrderCache, redis: Redis) -> None:
    other = uuid4()
    await filled(cache, 1)
    await leased(cache, other)
    await cache.delete([ORDER, other])

    assert await redis.dbsize() == 0


# --- every order of steps ---


class History:
    """One order, its log, and the actors on it; each step of an actor is one round trip or read."""

    def __init__(self, cache: OrderCache, redis: Redis) -> None:
        self.cache, self.redis, self.order_id = cache, redis, uuid4()
        self.committed = 1
        self.told = 0  # the highest version whose refresh has returned
        self.hands: dict[str, tuple[object, int]] = {}

    async def step(self, actor: str, step: str) -> None:
        found, version = self.hands.get(actor, (None, 0))
        match step:
            case "look up":
                found = await self.cache.look_up(self.order_id)
                if isinstance(found, CachedOrder):
                    assert found.version >= self.told
            case "read":
                version = self.committed
            case "fill" if isinstance(found, Lease):
                await fill(self.cache, found, version, self.order_id)
            case "commit":
                version = self.committed = self.committed + 1
            case "refresh":
                await self.cache.refresh([entry(version, self.order_id)])
                self.told = max(self.told, version)
            case "evict":
                await self.redis.delete(f"order:{{{self.order_id}}}")
        self.hands[actor] = (found, version)
        await self.check()

    async def check(self) -> None:
        """What any other process would be given now; looked at without leaving a lease."""
        value = await self.redis.get(f"order:{{{self.order_id}}}")
        if value is not None:
            assert self.told <= int(value.split(b":")[2]) <= self.committed


READER = ("look up", "read", "fill")
WRITER = ("commit", "refresh")
PROJECTION = ("read", "refresh")  # it may come late, with a version long superseded
EVICTION = ("evict",)


def merges(first: Sequence[str], *others: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Every order in which these sequences of steps can happen, as (actor, step)."""
    if not others:
        yield [(0, step) for step in first]
        return
    for rest in merges(*others):
        for places in combinations(range(len(first) + len(rest)), len(first)):
            mine, theirs = iter(first), iter(rest)
            merged: list[tuple[int, str]] = []
            for place in range(len(first) + len(rest)):
                if place in places:
                    merged.append((0, next(mine)))
                else:
                    actor, step = next(theirs)
                    merged.append((actor + 1, step))
            yield merged


@pytest.mark.parametrize(
    "actors",
    [
        (READER, READER, WRITER),
        (READER, WRITER, PROJECTION, EVICTION),
        (READER, WRITER, WRITER),
    ],
    ids=["two readers, a writer", "reader, writer, projection, eviction", "reader, two writers"],
)
async def test_no_order_of_steps_makes_the_cache_go_back(
    cache: OrderCache, redis: Redis, actors: tuple[Sequence[str], ...]
) -> None:
    async def play(steps: list[tuple[int, str]], filled_before: bool) -> None:
        history = History(cache, redis)
        if filled_before:
            await filled(cache, 1, history.order_id)
        for actor, step in steps:
            await history.step(str(actor), step)

    plays = [(steps, before) for steps in merges(*actors) for before in (False, True)]
    for begin in range(0, len(plays), 16):
        await asyncio.gather(*(play(*one) for one in plays[begin : begin + 16]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_long_random_histories_never_go_back(data: st.DataObject) -> None:
    """Three readers, two writers and a projection, over and over, with evictions."""
    programs = {
        "r1": READER,
        "r2": READER,
        "r3": READER,
        "w1": WRITER,
        "w2": WRITER,
        "p": PROJECTION,
    }
    actors = data.draw(st.lists(st.sampled_from([*programs, "evict"]), min_size=20, max_size=80))

    async def play() -> None:
        redis = connect(Settings())  # type: ignore[call-arg]
        history, done = History(OrderCache(redis, TTL_S), redis), dict.fromkeys(programs, 0)
        for actor in actors:
            if actor == "evict":
                await history.step(actor, "evict")
                continue
            program = programs[actor]
            await history.step(actor, program[done[actor] % len(program)])
            done[actor] += 1
        await redis.aclose()

    asyncio.run(play())


# --- cancellation ---


async def test_cancelled_look_ups_never_deliver_a_reply_for_another_key(cache: OrderCache) -> None:
    orders = [uuid4() for _ in range(40)]
    for order_id in orders:
        await filled(cache, 1, order_id)
    chance = random.Random(1)

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
    """At whatever step it comes: a task that is told to end must end (see `_cancellable`)."""
    kept_on = []
    for steps in range(60):
        if not connected:
            await redis.connection_pool.disconnect()
        task = asyncio.create_task(cache.look_up(ORDER))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled = task.cancel()  # False if it has ended before
        await asyncio.wait((task,))
        if cancelled and not task.cancelled():
            kept_on.append(steps)

    assert kept_on == []


async def test_cancelled_callers_give_their_connections_back(
    cache: OrderCache, redis: Redis
) -> None:
    for _ in range(5):
        tasks = [asyncio.create_task(cache.look_up(uuid4())) for _ in range(200)]
        await asyncio.sleep(0.002)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    found = await asyncio.gather(*(cache.look_up(uuid4()) for _ in range(limits.REDIS_POOL_SIZE)))

    assert all(isinstance(lease, Lease) for lease in found)


async def test_a_cancelled_refresh_is_made_good(cache: OrderCache) -> None:
    await filled(cache, 1)
    writer = asyncio.create_task(cache.refresh([entry(2)]))
    await asyncio.sleep(0)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)

    assert await cache.look_up(ORDER) != cached(1)  # nobody knows whether Redis got it
    await cache.retry_stale()
    assert await cache.look_up(ORDER) != cached(1)


def test_it_works_in_an_event_loop_of_its_own() -> None:
    """As in a worker process, which makes its loop and its client after the fork."""

    async def work() -> object:
        redis = connect(Settings())  # type: ignore[call-arg]
        cache = OrderCache(redis, TTL_S)
        cache.start()
        await filled(cache, 1, order_id := uuid4())
        found = await cache.look_up(order_id)
        await cache.close()
        await redis.aclose()
        return found == cached(1, order_id)

    assert [asyncio.run(work()) for _ in range(2)] == [True, True]
