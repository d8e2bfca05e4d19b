"""Faults of Redis: F24 to F31. They may change only how long answers take: every row checks that
commands continue, and the bench checks that no answer was wrong.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.exceptions import RedisError, ResponseError

from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench
from tests.tools.faults.holding import commands_continue, repeat
from tests.tools.faults.rows import row

FLUSH_EVERY_S = 2.0
POISON_EVERY_S = 0.2
POISON_TTL_S = 60
SCAN_PAGE = 500
CUT_EVERY_S = 0.2
ABANDONED_SHARE = 0.2  # of the requests
CUT_AFTER_BYTES_MAX = 20_000
CLIENTS_MAX = 20
CLIENTS_DEFAULT = 10_000
TINY = "1mb"


@row("F24", "Redis is stopped, and killed", stale_reads=True)
async def killed(bench: Bench) -> None:
    """The stack starts it again at once, empty; so the proxy keeps it unreachable for a while."""
    for death in (signal.SIGTERM, signal.SIGKILL):
        await wait_for_redis(bench)
        bench.redis.reset()
        bench.signal("redis", death)
        async with commands_continue(bench):
            await bench.hold()
        bench.redis.heal()


async def wait_for_redis(bench: Bench) -> None:
    async def answers() -> bool:
        try:
            return bool(await bench.redis_client.ping())
        except (RedisError, OSError):
            return False

    await eventually(answers)


@row("F25", "Redis hangs", stale_reads=True)
async def hung(bench: Bench) -> None:
    """By SIGSTOP; then by CLIENT PAUSE, which leaves the server alive."""
    await wait_for_redis(bench)
    bench.signal("redis", signal.SIGSTOP)
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        bench.signal("redis", signal.SIGCONT)
    async with commands_continue(bench):
        await bench.redis_client.client_pause(int(bench.hold_s * 1000), all=True)
        await bench.hold()


@row("F26", "Redis is emptied again and again")
async def emptied(bench: Bench) -> None:
    await wait_for_redis(bench)
    async with commands_continue(bench):
        await repeat(FLUSH_EVERY_S, bench, bench.redis_client.flushall)


@row("F27", "Redis is full")
async def full(bench: Bench) -> None:
    """First it refuses writes; then it evicts keys."""
    await wait_for_redis(bench)
    before = await bench.redis_client.config_get("maxmemory*")
    try:
        for policy in ("noeviction", "allkeys-lru"):
            await bench.redis_client.config_set("maxmemory-policy", policy)
            await bench.redis_client.config_set("maxmemory", TINY)
            async with commands_continue(bench):
                await bench.hold()
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await bench.redis_client.config_set(name, str(before[name]))


@row("F28", "Values in Redis are spoiled")
async def poisoned(bench: Bench) -> None:
    """Each key gets another type, random bytes, or the value of another key."""
    await wait_for_redis(bench)

    async def spoil() -> None:
        keys = [key async for key in bench.redis_client.scan_iter(count=SCAN_PAGE)]
        for key in keys:
            foreign = await value_of(bench, bench.rng.choice(keys))
            # A value that an earlier round moved away from this key would be valid here again, only
            # old, and no cache can detect that.
            await spoil_one(bench, key, b"{" if id_in(key) in foreign else foreign)

    async with commands_continue(bench):
        await repeat(POISON_EVERY_S, bench, spoil)


def id_in(key: bytes) -> bytes:
    """The id in the key, as the header of an entry has it."""
    return key.partition(b"{")[2].partition(b"}")[0].replace(b"-", b"")


async def value_of(bench: Bench, key: bytes) -> bytes:
    """The string under the key; b"{" if there is none."""
    try:
        found = await bench.redis_client.get(key)
    except ResponseError:  # of another type
        found = None
    return found if isinstance(found, bytes) else b"{"


async def spoil_one(bench: Bench, key: bytes, foreign: bytes) -> None:
    async with bench.redis_client.pipeline(transaction=True) as transaction:
        transaction.delete(key)
        match bench.rng.randrange(3):
            case 0:
                transaction.rpush(key, "a list")
            case 1:
                transaction.set(key, bench.rng.randbytes(40))
            case _:
                transaction.set(key, foreign)
        transaction.expire(key, POISON_TTL_S)  # the bench checks that every key has one
        await transaction.execute()


@row("F29", "Redis loses its scripts")
async def lost_scripts(bench: Bench) -> None:
    """By SCRIPT FLUSH; then by a restart, which loses all data."""
    await wait_for_redis(bench)
    async with commands_continue(bench):
        await repeat(FLUSH_EVERY_S, bench, bench.redis_client.script_flush)
    bench.signal("redis", signal.SIGKILL)
    async with commands_continue(bench):
        await bench.hold()


@row("F30", "The link to Redis is cut within replies", stale_reads=True)
async def cut_replies(bench: Bench) -> None:
    """Meanwhile clients disconnect. The rest of a reply must never be read as the next reply."""

    async def cut() -> None:
        bench.redis.cut_after(bench.rng.randrange(20, CUT_AFTER_BYTES_MAX))

    bench.shop.abandoned_share = ABANDONED_SHARE
    try:
        async with commands_continue(bench):
            await repeat(CUT_EVERY_S, bench, cut)
    finally:
        bench.shop.abandoned_share = 0.0
        bench.redis.heal()


@row("F31", "Redis takes no more connections", stale_reads=True)
async def no_connections(bench: Bench) -> None:
    """The bench's idle connections take all that the server allows."""
    await wait_for_redis(bench)
    async with AsyncExitStack() as idle:
        kept = [await idle.enter_async_context(idle_connection(bench)) for _ in range(CLIENTS_MAX)]
        await bench.redis_client.config_set("maxclients", CLIENTS_MAX)
        try:
            own_id = await bench.redis_client.client_id()
            for client in await bench.redis_client.client_list():
                if client["addr"] not in kept and int(client["id"]) != own_id:
                    await bench.redis_client.client_kill_filter(_id=client["id"])
            async with commands_continue(bench):
                await bench.hold()
        finally:
            await bench.redis_client.config_set("maxclients", CLIENTS_DEFAULT)


@asynccontextmanager
async def idle_connection(bench: Bench) -> AsyncIterator[str]:
    """Yields the connection's local address."""
    host, port = bench.settings["REDIS_HOST"], bench.settings["REDIS_PORT"]
    _, writer = await asyncio.open_connection(host, port)
    try:
        yield "{}:{}".format(*writer.get_extra_info("sockname"))
    finally:
        writer.close()
