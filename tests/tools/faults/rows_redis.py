"""What befalls Redis: F24 to F31. Whatever it is, only the time that answers take may change: every
row looks that commands go on, and the bench that no answer was wrong."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.exceptions import RedisError, ResponseError

from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench
from tests.tools.faults.holding import every, meanwhile_accepted
from tests.tools.faults.rows import row

FLUSH_EVERY_S = 2.0
POISON_EVERY_S = 0.2
POISON_TTL_S = 60
SCAN_PAGE = 500
CUT_EVERY_S = 0.2
IMPATIENCE = 0.2
CUT_AFTER_BYTES_MAX = 20_000
CLIENTS_MAX = 20
CLIENTS_DEFAULT = 10_000
TINY = "1mb"


@row("F24", "Redis is stopped, and killed", stale_reads=True)
async def killed(bench: Bench) -> None:
    """It is started again at once, empty; so it is also kept out of reach for a while."""
    for death in (signal.SIGTERM, signal.SIGKILL):
        await redis_answers(bench)
        bench.redis.reset()
        bench.signal("redis", death)
        async with meanwhile_accepted(bench):
            await bench.hold()
        bench.redis.heal()


async def redis_answers(bench: Bench) -> None:
    async def it_does() -> bool:
        try:
            return bool(await bench.redis_client.ping())
        except (RedisError, OSError):
            return False

    await eventually(it_does)


@row("F25", "Redis hangs", stale_reads=True)
async def hung(bench: Bench) -> None:
    """Stopped by a signal; then alive, but told to pause its clients."""
    await redis_answers(bench)
    bench.signal("redis", signal.SIGSTOP)
    try:
        async with meanwhile_accepted(bench):
            await bench.hold()
    finally:
        bench.signal("redis", signal.SIGCONT)
    async with meanwhile_accepted(bench):
        await bench.redis_client.client_pause(int(bench.hold_s * 1000), all=True)
        await bench.hold()


@row("F26", "Redis is emptied again and again")
async def emptied(bench: Bench) -> None:
    await redis_answers(bench)
    async with meanwhile_accepted(bench):
        await every(FLUSH_EVERY_S, bench, bench.redis_client.flushall)


@row("F27", "Redis is full")
async def full(bench: Bench) -> None:
    """It refuses writes; then it evicts what it likes."""
    await redis_answers(bench)
    before = await bench.redis_client.config_get("maxmemory*")
    try:
        for policy in ("noeviction", "allkeys-lru"):
            await bench.redis_client.config_set("maxmemory-policy", policy)
            await bench.redis_client.config_set("maxmemory", TINY)
            async with meanwhile_accepted(bench):
                await bench.hold()
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await bench.redis_client.config_set(name, str(before[name]))


@row("F28", "Values in Redis are spoiled")
async def poisoned(bench: Bench) -> None:
    """Under every key: another type, broken bytes, or what belongs to another key."""
    await redis_answers(bench)

    async def spoil() -> None:
        keys = [key async for key in bench.redis_client.scan_iter(count=SCAN_PAGE)]
        for key in keys:
            foreign = await text_at(bench, bench.rng.choice(keys))
            # What belongs to this key, perhaps by a detour: only what it had lost would come back,
            # which no cache could tell.
            await spoil_one(bench, key, b"{" if names(key) in foreign else foreign)

    async with meanwhile_accepted(bench):
        await every(POISON_EVERY_S, bench, spoil)


def names(key: bytes) -> bytes:
    """The id in the key, as an entry has it in its header."""
    return key.partition(b"{")[2].partition(b"}")[0].replace(b"-", b"")


async def text_at(bench: Bench, key: bytes) -> bytes:
    try:
        found = await bench.redis_client.get(key)
    except ResponseError:  # no text any more
        found = None
    return found if isinstance(found, bytes) else b"{"


async def spoil_one(bench: Bench, key: bytes, foreign: bytes) -> None:
    async with bench.redis_client.pipeline(transaction=True) as together:
        together.delete(key)
        match bench.rng.randrange(3):
            case 0:
                together.rpush(key, "a list")
            case 1:
                together.set(key, bench.rng.randbytes(40))
            case _:
                together.set(key, foreign)
        together.expire(key, POISON_TTL_S)  # as what is ours has one; the bench looks for that
        await together.execute()


@row("F29", "Redis loses its scripts")
async def lost_scripts(bench: Bench) -> None:
    """Alone; then with everything else, by a restart."""
    await redis_answers(bench)
    async with meanwhile_accepted(bench):
        await every(FLUSH_EVERY_S, bench, bench.redis_client.script_flush)
    bench.signal("redis", signal.SIGKILL)
    async with meanwhile_accepted(bench):
        await bench.hold()


@row("F30", "The link to Redis is cut within replies", stale_reads=True)
async def cut_replies(bench: Bench) -> None:
    """While clients go away, too: a reply's rest must never pass for the beginning of the next."""

    async def cut() -> None:
        bench.redis.cut_after(bench.rng.randrange(20, CUT_AFTER_BYTES_MAX))

    bench.shop.impatience = IMPATIENCE
    try:
        async with meanwhile_accepted(bench):
            await every(CUT_EVERY_S, bench, cut)
    finally:
        bench.shop.impatience = 0.0
        bench.redis.heal()


@row("F31", "Redis takes no more connections", stale_reads=True)
async def no_connections(bench: Bench) -> None:
    """Ours idle in all places that there are."""
    await redis_answers(bench)
    async with AsyncExitStack() as idle:
        ours = [await idle.enter_async_context(idle_connection(bench)) for _ in range(CLIENTS_MAX)]
        await bench.redis_client.config_set("maxclients", CLIENTS_MAX)
        try:
            me = await bench.redis_client.client_id()
            for client in await bench.redis_client.client_list():
                if client["addr"] not in ours and int(client["id"]) != me:
                    await bench.redis_client.client_kill_filter(_id=client["id"])
            async with meanwhile_accepted(bench):
                await bench.hold()
        finally:
            await bench.redis_client.config_set("maxclients", CLIENTS_DEFAULT)


@asynccontextmanager
async def idle_connection(bench: Bench) -> AsyncIterator[str]:
    """Its own address."""
    host, port = bench.settings["REDIS_HOST"], bench.settings["REDIS_PORT"]
    _, writer = await asyncio.open_connection(host, port)
    try:
        yield "{}:{}".format(*writer.get_extra_info("sockname"))
    finally:
        writer.close()
