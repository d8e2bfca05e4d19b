"""The cache while Redis answers but is full, read-only or refuses connections."""

import asyncio
from uuid import uuid4

from redis.asyncio import Redis

from order_service.cache.order_cache import Lease, OrderCache
from tests.support.read_side.cached import ORDER, a_process, cached, entry, fill, filled, leased
from tests.support.servers.private_redis import PrivateRedis


async def test_a_full_redis_still_serves_hits_and_deletes_old_contents(
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


async def test_a_refused_refresh_is_retried(writer: OrderCache, control: Redis) -> None:
    """A read-only replica answers without a time-out, but the update must be retried."""
    await filled(writer, 1)
    await control.execute_command("REPLICAOF", "127.0.0.1", "1")
    await writer.refresh([entry(2)])
    assert await writer.look_up(ORDER) is None
    await control.execute_command("REPLICAOF", "NO", "ONE")
    await asyncio.sleep(1)

    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_a_server_without_free_connections_is_bypassed(
    server: PrivateRedis, control: Redis
) -> None:
    await control.config_set("maxclients", "1")  # used by `control`

    async with a_process(server.settings()) as (cache, _):
        assert await cache.look_up(ORDER) is None
        await cache.refresh([entry(1)])


async def test_a_server_that_refuses_the_password_is_bypassed(
    server: PrivateRedis, control: Redis
) -> None:
    await control.config_set("requirepass", "secret")

    async with a_process(server.settings()) as (cache, _):
        assert await cache.look_up(ORDER) is None
        await cache.refresh([entry(1)])
