"""More than can be done: who comes too many is told so at once, and everybody else is served."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import HASH_QUEUE_MAX, SHED_PAUSE_S
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web.concurrency import Concurrency
from tests.conftest import serving
from tests.support.http.accounts import PASSWORD, Account, new_account
from tests.support.http.orders import ITEMS, place
from tests.support.http.raw_http import Answer, wire
from tests.support.waiting import WAIT_S, eventually

AT_WORK = 3
BODIES_BYTES = 100_000
BODY = json.dumps({"items": ITEMS}).encode()
# The fast path takes no request with a preference.
WAYS = pytest.mark.parametrize("way", [{}, {"Prefer": "wait=1"}], ids=["fast path", "route"])


@dataclass(frozen=True)
class Small:
    """A service that can do little at once."""

    settings: Settings
    web: httpx.AsyncClient
    concurrency: Concurrency
    owner: Account

    async def until(self, group: str, count: int) -> None:
        """So many requests of the group are at work."""
        await eventually(lambda: self.concurrency.of(group).count == count)

    async def order(self, way: dict[str, str]) -> httpx.Response:
        headers = {**self.owner.headers, **way}
        return await self.web.post("/orders/", json={"items": ITEMS}, headers=headers)

    def head(self, way: dict[str, str], length: int) -> bytes:
        """Of an order of so many bytes."""
        fields = {
            "Host": "x",
            "Content-Type": "application/json",
            "Content-Length": str(length),
            **self.owner.headers,
            **way,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST /orders/ HTTP/1.1\r\n{lines}\r\n".encode()

    @asynccontextmanager
    async def waiting_commands(self) -> AsyncIterator[list["asyncio.Task[httpx.Response]"]]:
        """Inside the block as many as there may be wait for the database."""
        connection = await asyncpg.connect(
            host=self.settings.DB_HOST,
            port=self.settings.DB_PORT,
            user=self.settings.DB_USER,
            password=self.settings.DB_PASSWORD,
            database=self.settings.DB_NAME,
        )
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM partitions FOR UPDATE")
                tasks = [asyncio.create_task(place(self.web, self.owner)) for _ in range(AT_WORK)]
                await self.until("orders-write", AT_WORK)
                yield tasks
        finally:
            await connection.close()


@pytest.fixture
async def small(
    settings: Settings, redis: Redis, web_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Small]:
    patient = {"LOCK_TIMEOUT_MS": 60_000, "APPEND_STATEMENT_TIMEOUT_MS": 60_000}
    patient |= {"DRIVER_TIMEOUT_S": 70, "APPEND_WAIT_S": 70}  # however slow the machine
    little = {"REQUESTS_IN_WORK_MAX": AT_WORK, "BODIES_BYTES_MAX": BODIES_BYTES}
    for name, value in (patient | little).items():
        monkeypatch.setattr(f"order_service.limits.{name}", value)
    app = create_app(settings.model_copy(update={"RATE_LIMIT": "1000000/minute"}))
    async with serving(app) as client:
        owner = await new_account(web_engine)
        yield Small(settings, client, app.state.admission.concurrency, owner)


@WAYS
async def test_a_request_too_many_is_shed_and_others_are_served(
    small: Small, way: dict[str, str]
) -> None:
    """The first one of a connection: that the application sees."""
    order = await small.order({})
    async with small.waiting_commands() as waiting:
        async with wire(small.web) as wired:
            wired.send(small.head(way, len(BODY)) + BODY)
            shed = await wired.answer()
        read = await small.web.get(order.headers["location"], headers=small.owner.headers)
        probed = await small.web.get("/healthz")
    answers = await asyncio.gather(*waiting)

    assert (shed.status, shed.headers["retry-after"]) == (503, "1")
    assert json.loads(shed.body)["type"] == "/problems/overloaded"
    assert "ratelimit" in shed.headers
    assert (read.status_code, probed.status_code) == (200, 200)
    assert [answer.status_code for answer in answers] == [201] * AT_WORK
    assert (await small.order({})).status_code == 201
    await small.until("orders-write", 0)


async def test_what_is_shed_costs_next_to_nothing(small: Small) -> None:
    """On a connection that has had an answer no application sees it; and whoever comes again at
    once is not listened to for a while."""
    origin = {"Origin": "http://localhost", "X-Request-Id": "seen-by-the-edge"}
    head = small.head(origin, len(BODY))
    async with wire(small.web) as wired:
        wired.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await wired.answer()
        async with small.waiting_commands() as waiting:
            began = asyncio.get_running_loop().time()
            wired.send(head + BODY)
            shed = [await wired.answer()]
            wired.send(head + BODY)
            shed.append(await wired.answer())
            took_s = asyncio.get_running_loop().time() - began
        await asyncio.gather(*waiting)
        wired.send(head + BODY)
        served = await wired.answer()

    assert [answer.status for answer in shed] == [503, 503]
    assert json.loads(shed[0].body)["type"] == "/problems/overloaded"
    assert shed[0].headers["retry-after"] == "1"
    assert shed[0].headers["access-control-allow-origin"] == "http://localhost"
    assert shed[0].headers["x-request-id"] != "seen-by-the-edge"
    assert took_s >= SHED_PAUSE_S
    assert served.status == 201


async def test_who_goes_away_leaves_its_place(small: Small) -> None:
    async with small.waiting_commands() as waiting:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await small.until("orders-write", 0)

    answers = await asyncio.gather(*(small.order({}) for _ in range(AT_WORK)))
    assert [(a.status_code, a.json()["version"]) for a in answers] == [(201, 1)] * AT_WORK


@WAYS
async def test_a_slow_body_takes_no_place(small: Small, way: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(wire(small.web)) for _ in range(AT_WORK + 1)]
        for wired in slow:
            wired.send(small.head(way, len(BODY)) + BODY[:-1])

        assert (await small.order(way)).status_code == 201
        for wired in slow:
            wired.send(BODY[-1:])
        assert [(await wired.answer()).status for wired in slow] == [201] * len(slow)


async def test_an_open_stream_takes_no_place(small: Small) -> None:
    path = (await small.order({})).headers["location"]
    async with AsyncExitStack() as stack:
        for _ in range(AT_WORK + 1):
            streaming = small.web.stream("GET", f"{path}stream", headers=small.owner.headers)
            assert (await stack.enter_async_context(streaming)).status_code == 200

        assert (await small.web.get(path, headers=small.owner.headers)).status_code == 200


@WAYS
async def test_bodies_that_arrive_have_a_bound_together(small: Small, way: dict[str, str]) -> None:
    piece = b" " * (BODIES_BYTES * 2 // 3)
    async with wire(small.web) as first, wire(small.web) as second:
        first.send(small.head(way, len(piece) + 1) + piece)
        await eventually(lambda: small.concurrency.body_bytes == len(piece))

        second.send(small.head(way, len(piece) + 1) + piece)
        shed: Answer = await second.answer()

        assert (shed.status, shed.headers["retry-after"]) == (503, "1")
        assert await second.rest() == b""
        first.send(b"x")
        assert (await first.answer()).status == 400
    assert small.concurrency.body_bytes == 0


async def test_a_storm_of_logins_is_bounded_and_orders_go_on(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    """F55: two passwords are hashed at a time, 64 wait, and the others are told to come again."""
    owner = await new_account(web_engine)
    everybody = httpx.Limits(max_connections=200)
    login = {"username": owner.email, "password": PASSWORD}
    stranger = {"password": PASSWORD}
    async with httpx.AsyncClient(base_url=web.base_url, timeout=WAIT_S, limits=everybody) as crowd:
        storm = [
            crowd.post("/token/", json={**stranger, "username": f"{number}@example.com"})
            for number in range(199)
        ]
        answering = asyncio.gather(*storm, crowd.post("/token/", json=login))
        placed = [(await place(web, owner)).status_code for _ in range(5)]
        answers = await answering

    assert placed == [201] * 5
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 401, 503}
    assert statuses[401] >= HASH_QUEUE_MAX
    assert statuses[503] > 0
    assert {a.headers.get("retry-after") for a in answers if a.status_code == 503} == {"1"}
