"""The cache while Redis is hung, dead or restarted, and its retries afterwards."""

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
    """A longer time-out: a slow Redis on a busy machine must not count as hung."""
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", 0.4)


async def took(work: object) -> float:
    started = time.monotonic()
    await work  # type: ignore[misc]
    return time.monotonic() - started


async def longest_stall(stop: asyncio.Event) -> float:
    """The longest time that the event loop was blocked, until `stop`."""
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

    # In batches of 32, one after another, they would wait 16 times.
    assert burst < 9 * limits.REDIS_TIMEOUT_S


async def test_a_dead_redis_is_bypassed_and_used_again_after_a_restart(
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


async def test_a_busy_process_does_not_count_redis_as_dead(
    writer: OrderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", 0.1)
    await filled(writer, 1)

    looking = asyncio.create_task(writer.look_up(ORDER))
    for _ in range(10):
        await asyncio.sleep(0)
        time.sleep(1.5 * limits.REDIS_TIMEOUT_S)  # noqa: ASYNC251  # other tasks keep the process busy

    assert await looking == cached(1)
    assert isinstance(await writer.look_up(ORDER), CachedOrder)


async def test_one_call_tries_a_hung_redis_while_the_others_bypass_it(
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
    await asyncio.sleep(0.05)  # the event loop must first see that the connections are closed
    await fill(reader, lease, 1)

    assert isinstance(await reader.look_up(ORDER), Lease)


async def test_verify_gets_an_error_without_redis(server: PrivateRedis, writer: OrderCache) -> None:
    await filled(writer, 1)
    server.kill()

    with pytest.raises(Unavailable):
        [found async for found in writer.entries()]
    with pytest.raises(Unavailable):
        await writer.delete([ORDER])


# --- P5: updates that failed ---


async def test_old_contents_are_deleted_a_second_after_a_hung_redis_answers_again(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache
) -> None:
    await filled(reader, 1)
    server.hang()
    await writer.refresh([entry(2)])
    await asyncio.sleep(0.5)
    assert await writer.look_up(ORDER) is None  # the writing process bypasses the key

    server.go_on()

    await eventually(lambda: reader.look_up(ORDER), lambda found: isinstance(found, Lease))
    await eventually(lambda: writer.look_up(ORDER), lambda found: isinstance(found, Lease))


async def test_a_document_read_before_a_failed_refresh_cannot_be_filled_after_it(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache, control: Redis
) -> None:
    lease = await leased(reader)
    await control.persist(f"order:{{{ORDER}}}:lease")  # the lease must not just expire
    server.hang()
    await writer.refresh([entry(2)])
    server.go_on()
    await asyncio.sleep(1)
    await fill(reader, lease, 1)

    assert isinstance(await reader.look_up(ORDER), Lease)


@pytest.mark.parametrize("pause", ["ALL", "WRITE"])
async def test_a_paused_redis_is_updated_when_the_pause_ends(
    writer: OrderCache, reader: OrderCache, control: Redis, pause: str
) -> None:
    await filled(reader, 1)
    await control.execute_command("CLIENT", "PAUSE", 2_000, pause)

    assert await took(writer.refresh([entry(2)])) < 3 * limits.REDIS_TIMEOUT_S

    await eventually(lambda: reader.look_up(ORDER), lambda found: found not in (None, cached(1)))


async def test_more_stale_keys_than_the_limit_flush_the_cache(
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

    assert await writer.look_up(ORDER) is None  # unchanged, but all keys count as stale now
    server.go_on()

    await eventually(lambda: control.keys("*"), lambda keys: keys == [b"limits:someone"])
    # On a busy machine Redis may count as dead for a moment longer.
    await eventually(lambda: writer.look_up(orders[0]), lambda found: isinstance(found, Lease))


async def test_a_flush_deletes_entries_that_are_filled_during_its_scan(
    server: PrivateRedis, reader: OrderCache, control: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader with a lease from before the write fills its key after the scan has passed it."""
    monkeypatch.setattr(limits, "STALE_KEYS_MAX", 0)
    lease = await leased(reader)

    async with a_process(server.settings()) as (cache, redis):
        unlink = redis.unlink

        async def fill_first(*keys: bytes) -> int:
            await fill(reader, lease, 1)
            return int(await unlink(*keys))

        monkeypatch.setattr(redis, "unlink", fill_first)
        await control.execute_command("REPLICAOF", "127.0.0.1", "1")  # refuses to delete the lease
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


async def test_closing_retries_failed_updates(server: PrivateRedis, reader: OrderCache) -> None:
    await filled(reader, 1)
    async with a_process(server.settings()) as (cache, _):
        server.hang()
        await cache.refresh([entry(2)])
        server.go_on()

    assert await reader.look_up(ORDER) != cached(1)
