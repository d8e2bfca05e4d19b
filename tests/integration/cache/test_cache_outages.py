"""The cache while its Redis is hung, dead or restarted, and what it makes good afterwards."""

import asyncio
import time
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from order_service import limits
from order_service.cache.order_cache import CachedOrder, Lease, OrderCache
from order_service.errors import Unavailable
from tests.support.read_side.cached import (
    ORDER,
    OWNER,
    a_process,
    cached,
    entry,
    fill,
    filled,
    leased,
)
from tests.support.servers.private_redis import PrivateRedis
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's Redis may be slow, and is not taken for hung."""
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", 0.4)


async def took(work: object) -> float:
    begun = time.monotonic()
    await work  # type: ignore[misc]
    return time.monotonic() - begun


async def longest_stall(stop: asyncio.Event) -> float:
    """How long the event loop stood still at most, until `stop`."""
    longest = 0.0
    while not stop.is_set():
        longest = max(longest, await took(asyncio.sleep(0.005)) - 0.005)
    return longest


# --- hung and dead ---


async def test_a_hung_redis_costs_one_timeout_and_then_nothing(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await filled(writer, 1)
    stop = asyncio.Event()
    stall = asyncio.create_task(longest_stall(stop))
    server.hang()

    first = await took(writer.look_up(ORDER))
    rest = await took(asyncio.gather(*(writer.look_up(ORDER) for _ in range(200))))
    refresh = await took(writer.refresh([entry(2)]))
    stop.set()

    assert limits.REDIS_TIMEOUT_S <= first < 3 * limits.REDIS_TIMEOUT_S
    assert rest < limits.REDIS_TIMEOUT_S
    assert refresh < limits.REDIS_TIMEOUT_S
    assert await stall < limits.REDIS_TIMEOUT_S


async def test_a_burst_into_a_redis_that_just_hung_waits_once(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await filled(writer, 1)
    server.hang()

    burst = await took(asyncio.gather(*(writer.look_up(uuid4()) for _ in range(500))))

    # One after another, in turns of 32, they would wait 16 times.
    assert burst < 9 * limits.REDIS_TIMEOUT_S


async def test_a_dead_redis_is_a_bypass_and_is_used_again_when_it_is_back(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await filled(writer, 1)
    server.kill()

    assert await writer.look_up(ORDER) is None
    assert (
        await took(asyncio.gather(*(writer.look_up(ORDER) for _ in range(200))))
        < limits.REDIS_TIMEOUT_S
    )

    server.start()
    await asyncio.sleep(limits.REDIS_BREAKER_S)
    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_a_busy_process_does_not_take_redis_for_dead(
    writer: OrderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", 0.1)
    await filled(writer, 1)

    looking = asyncio.create_task(writer.look_up(ORDER))
    for _ in range(10):
        await asyncio.sleep(0)
        time.sleep(1.5 * limits.REDIS_TIMEOUT_S)  # noqa: ASYNC251  # others have the process

    assert await looking == cached(1)
    assert isinstance(await writer.look_up(ORDER), CachedOrder)


async def test_one_call_tries_a_hung_redis_while_the_others_go_on(
    server: PrivateRedis, writer: OrderCache
) -> None:
    server.hang()
    await writer.look_up(ORDER)
    await asyncio.sleep(limits.REDIS_BREAKER_S)

    waits = await asyncio.gather(*(took(writer.look_up(uuid4())) for _ in range(20)))

    assert sum(wait > limits.REDIS_TIMEOUT_S / 2 for wait in waits) == 1


async def test_a_restart_between_lease_and_fill_refuses_the_fill(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache
) -> None:
    """The writer's refresh goes to the old server, the reader's older read to the new one."""
    lease = await leased(reader)
    await writer.refresh([entry(2)])
    server.kill()
    server.start()
    await asyncio.sleep(0.05)  # the event loop learns that the lines are closed
    await fill(reader, lease, 1)

    assert isinstance(await reader.look_up(ORDER), Lease)


async def test_verify_is_told_that_there_is_no_redis(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await filled(writer, 1)
    server.kill()

    with pytest.raises(Unavailable):
        [found async for found in writer.entries()]
    with pytest.raises(Unavailable):
        await writer.delete([ORDER])


# --- P5: what could not be told ---


async def test_old_contents_are_gone_a_second_after_a_hung_redis_answers_again(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache
) -> None:
    await filled(reader, 1)
    server.hang()
    await writer.refresh([entry(2)])
    await asyncio.sleep(0.5)
    assert await writer.look_up(ORDER) is None  # never old contents in the process that wrote

    server.go_on()

    await eventually(lambda: reader.look_up(ORDER), lambda found: isinstance(found, Lease))
    await eventually(lambda: writer.look_up(ORDER), lambda found: isinstance(found, Lease))


async def test_what_was_read_before_an_untold_write_does_not_fill_afterwards(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache, control: Redis
) -> None:
    lease = await leased(reader)
    await control.persist(f"order:{{{ORDER}}}:lease")  # time must not do the work here
    server.hang()
    await writer.refresh([entry(2)])
    server.go_on()
    await asyncio.sleep(1)
    await fill(reader, lease, 1)

    assert isinstance(await reader.look_up(ORDER), Lease)


@pytest.mark.parametrize("pause", ["ALL", "WRITE"])
async def test_a_paused_redis_is_told_when_the_pause_ends(
    writer: OrderCache, reader: OrderCache, control: Redis, pause: str
) -> None:
    await filled(reader, 1)
    await control.execute_command("CLIENT", "PAUSE", 2_000, pause)

    assert await took(writer.refresh([entry(2)])) < 3 * limits.REDIS_TIMEOUT_S

    await eventually(lambda: reader.look_up(ORDER), lambda found: found not in (None, cached(1)))


async def test_more_stale_keys_than_are_remembered_flush_the_cache(
    server: PrivateRedis,
    writer: OrderCache,
    reader: OrderCache,
    control: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STALE_KEYS_MAX", 5)
    orders = [uuid4() for _ in range(20)]
    for order_id in (*orders, ORDER):
        await filled(reader, 1, order_id)
    await control.set("limits:someone", "not ours")
    server.hang()
    await writer.refresh([entry(2, order_id) for order_id in orders])
    await writer.drop_lists([OWNER])

    assert await writer.look_up(ORDER) is None  # an untouched one, too: all count as stale now
    server.go_on()

    await eventually(lambda: control.keys("*"), lambda keys: keys == [b"limits:someone"])
    assert isinstance(await writer.look_up(orders[0]), Lease)


async def test_a_flush_finds_what_is_filled_behind_its_back(
    server: PrivateRedis, reader: OrderCache, control: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader uses its lease, given before the write, after the scan has passed its key."""
    monkeypatch.setattr(limits, "STALE_KEYS_MAX", 0)
    lease = await leased(reader)

    async with a_process(server.settings()) as (cache, redis):
        unlink = redis.unlink

        async def fill_first(*keys: bytes) -> int:
            await fill(reader, lease, 1)
            return int(await unlink(*keys))

        monkeypatch.setattr(redis, "unlink", fill_first)
        await control.execute_command("REPLICAOF", "127.0.0.1", "1")  # refuses, so ends no lease
        await cache.refresh([entry(2)])
        await control.execute_command("REPLICAOF", "NO", "ONE")

    assert isinstance(await reader.look_up(ORDER), Lease)


async def test_closing_does_not_wait_for_a_hung_redis(
    server: PrivateRedis,
) -> None:
    async with a_process(server.settings()) as (cache, _):
        await filled(cache, 1)
        server.hang()
        await cache.refresh([entry(2)])

        assert await took(cache.close()) < limits.CACHE_CLOSE_TIMEOUT_S
    server.go_on()


async def test_closing_tells_redis_what_is_left(server: PrivateRedis, reader: OrderCache) -> None:
    await filled(reader, 1)
    async with a_process(server.settings()) as (cache, _):
        server.hang()
        await cache.refresh([entry(2)])
        server.go_on()

    assert await reader.look_up(ORDER) != cached(1)
