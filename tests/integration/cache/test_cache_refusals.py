"""The cache while its Redis answers, but is full, read-only or lets nobody in."""

import asyncio
from uuid import uuid4

from redis.asyncio import Redis

from order_service.cache.order_cache import Lease, OrderCache
from tests.support.read_side.cached import ORDER, a_process, cached, entry, fill, filled, leased
from tests.support.servers.private_redis import PrivateRedis


async def test_a_full_redis_is_a_bypass_that_still_gives_hits_and_drops_old_contents(
    writer: OrderCache, control: Redis
) -> None:
    await filled(writer, 1)
    await control.config_set("maxmemory-policy", "noeviction")
    await control.config_set("maxmemory", "1")

    assert await writer.look_up(ORDER) == cached(1)
    assert await writer.look_up(uuid4()) is None
    await writer.refresh([entry(2)])
    assert await control.exists(f"order:{{{ORDER}}}") == 0


async def test_a_fill_into_a_full_redis_is_no_error(writer: OrderCache, control: Redis) -> None:
    lease = await leased(writer)
    await control.config_set("maxmemory", "1")
    await fill(writer, lease, 1)
    await control.config_set("maxmemory", "0")

    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_a_refused_refresh_is_made_good(writer: OrderCache, control: Redis) -> None:
    """A read-only replica answers, so nothing times out; what it refuses must be told later."""
    await filled(writer, 1)
    await control.execute_command("REPLICAOF", "127.0.0.1", "1")
    await writer.refresh([entry(2)])
    assert await writer.look_up(ORDER) is None
    await control.execute_command("REPLICAOF", "NO", "ONE")
    await asyncio.sleep(1)

    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_no_free_connection_at_the_server_is_a_bypass(
    server: PrivateRedis, control: Redis
) -> None:
    await control.config_set("maxclients", "1")  # the operator's own

    async with a_process(server.settings()) as (cache, _):
        assert await cache.look_up(ORDER) is None
        await cache.refresh([entry(1)])


async def test_a_wrong_password_is_a_bypass(server: PrivateRedis, control: Redis) -> None:
    await control.config_set("requirepass", "secret")

    async with a_process(server.settings()) as (cache, _):
        assert await cache.look_up(ORDER) is None
        await cache.refresh([entry(1)])
