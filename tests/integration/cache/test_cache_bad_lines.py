"""The cache over connections to Redis that go silent or break in the middle of a reply."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import pytest
import uvloop

from order_service import limits
from order_service.cache.order_cache import CachedOrder, OrderCache
from tests.support.read_side.cached import ORDER, OWNER, a_process, cached, filled, leased
from tests.support.servers.private_redis import PrivateRedis
from tests.support.servers.proxy import proxy_to

RESETS = 20
Pump = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bool], Coroutine[None, None, None]]


@asynccontextmanager
async def proxy(port: int, pump: Callable[[], Pump]) -> AsyncIterator[int]:
    """The port of a proxy to Redis; each connection has a new pump that copies both directions."""
    lines: set[asyncio.Task[None]] = set()  # an event loop does not keep tasks alive by itself

    async def serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        upstream, ask = await asyncio.open_connection("127.0.0.1", port)
        carry = pump()
        directions = [
            asyncio.create_task(carry(client, ask, False)),
            asyncio.create_task(carry(upstream, answer, True)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
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
    """`freeze` makes all present connections silent, like a lost route; new connections work."""

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


async def test_all_silently_dead_connections_cost_one_timeout_in_total(
    server: PrivateRedis, writer: OrderCache
) -> None:
    await filled(writer, 1)
    line = Freezer()

    async with proxy(server.port, line) as port, a_process(server.settings(port)) as (cache, _):
        await asyncio.gather(*(cache.look_up(uuid4()) for _ in range(20)))  # 20 idle connections
        line.freeze()
        assert await cache.look_up(ORDER) is None
        await asyncio.sleep(limits.REDIS_BREAKER_S)

        assert await cache.look_up(ORDER) == cached(1)
        found = await asyncio.gather(*(cache.look_up(ORDER) for _ in range(20)))
        assert found == [cached(1)] * 20


def cutting(chance: random.Random) -> Callable[[], Pump]:
    """Pumps that close their connection after a random number of reply bytes."""

    def cut_once() -> Pump:
        left = chance.randrange(20, 400_000)

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


@pytest.mark.fuzz
async def test_a_connection_cut_in_mid_reply_never_returns_the_value_of_another_key(
    server: PrivateRedis, writer: OrderCache, monkeypatch: pytest.MonkeyPatch, random_seed: int
) -> None:
    monkeypatch.setattr(limits, "REDIS_BREAKER_S", 0.0)  # retries at once, for more cuts
    chance = random.Random(random_seed)
    documents = {uuid4(): chance.randbytes(chance.randrange(10, 3_000)) for _ in range(30)}
    for order_id, document in documents.items():
        lease = await leased(writer, order_id)
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


def test_a_reset_connection_is_a_bypass_under_uvloop_too(server: PrivateRedis) -> None:
    """A write to a reset uvloop transport raises RuntimeError; asyncio's transports do not."""

    async def look_up_over_reset_connections() -> None:
        async with (
            proxy_to("127.0.0.1", server.port) as line,
            a_process(server.settings(line.port)) as (cache, _),
        ):
            for _ in range(RESETS):
                await cache.look_up(ORDER)
                line.cut()
                await asyncio.sleep(0)
                await cache.look_up(ORDER)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(look_up_over_reset_connections())
