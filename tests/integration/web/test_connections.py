"""What one connection may cost: heads, deadlines, answers that nobody fetches."""

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncEngine
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from order_service.limits import (
    CONNECTIONS_MAX,
    DESCRIPTORS_KEPT,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    PIPELINED_MAX,
    REQUESTS_IN_WORK_MAX,
)
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web.concurrency import connections_max
from order_service.web.connection import Connection
from order_service.web.event_loop import Loop
from tests.conftest import serving
from tests.support.http.accounts import new_account
from tests.support.http.orders import ITEMS, place, stored_events
from tests.support.http.raw_http import Wire, wire
from tests.support.waiting import eventually

GET = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /register/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CANCEL = b"POST /orders/1/cancel/ HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"/large"
LIMIT = "order_service.limits.{}"


def plain_app() -> FastAPI:
    app = FastAPI()
    app.add_route(LARGE.decode(), lambda _: Response(b"x" * 8_000_000))
    return app


@pytest.fixture
async def plain() -> AsyncIterator[httpx.AsyncClient]:
    """A server like ours whose application has nothing to do with it."""
    async with serving(plain_app()) as client:
        yield client


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_RECEIVE_TIMEOUT_S", "BODY_RECEIVE_TIMEOUT_S", "ANSWER_TAKE_TIMEOUT_S"):
        monkeypatch.setattr(LIMIT.format(name), 0.2)
    monkeypatch.setattr(LIMIT.format("CONNECTION_WATCH_S"), 0.05)


def field(size: int) -> bytes:
    """A header of so many bytes, its name's included."""
    return b"X-Large: " + b"x" * (size - len(b"x-large")) + b"\r\n"


def spare(head: bytes = GET) -> int:
    """Bytes that a header may have beside those of the head."""
    return HEAD_BYTES_MAX - len(b"/openapi.json" + b"host" + b"x")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (field(spare()), 200),
        (field(spare() + 1), 431),
        (field(400_000), 431),
        (b"X: y\r\n" * (HEADERS_MAX - 1), 200),
        (b"X: y\r\n" * HEADERS_MAX, 431),
    ],
    ids=["fits", "one more", "far more", "headers that fit", "one header more"],
)
async def test_a_head_has_its_limits(plain: httpx.AsyncClient, head: bytes, status: int) -> None:
    async with wire(plain) as wired:
        wired.send(GET + head + b"\r\n")
        answer = await wired.answer()

    assert answer.status == status, answer


async def test_a_refusal_is_a_problem_document_with_safe_headers(plain: httpx.AsyncClient) -> None:
    async with wire(plain) as wired:
        wired.send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")  # as a client begins that speaks TLS
        answer = await wired.answer()
        assert await wired.rest() == b""

    document = json.loads(answer.body)
    assert answer.status == document["status"] == 400
    assert document["type"] == "/problems/malformed-request"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"


async def test_a_head_that_never_ends_is_refused(plain: httpx.AsyncClient) -> None:
    async with wire(plain) as wired:
        wired.send(GET)
        answering = asyncio.create_task(wired.answer())
        while not answering.done():  # piece by piece: of the first one no more is known
            wired.send(b"X: " + b"x" * 4_000 + b"\r\n")
            await asyncio.sleep(0.001)

        assert (await answering).status == 431


async def _half_a_head(wired: Wire) -> None:
    wired.send(GET)


async def _half_a_head_after_an_answer(wired: Wire) -> None:
    wired.send(GET + b"\r\n")
    assert (await wired.answer()).status == 200
    wired.send(GET)


@pytest.mark.parametrize("begin", [_half_a_head, _half_a_head_after_an_answer])
async def test_a_head_has_its_deadline(
    plain: httpx.AsyncClient, begin: Callable[[Wire], object], hasty: None
) -> None:
    async with wire(plain) as wired:
        await begin(wired)  # type: ignore[misc]

        assert (await wired.answer()).status == 408
        assert await wired.rest() == b""


async def _nothing(wired: Wire) -> None:
    pass


async def _empty_lines(wired: Wire) -> None:
    """Each of them ends uvicorn's own time-out for connections that are kept alive."""
    wired.send(GET + b"\r\n")
    await wired.answer()
    wired.send(b"\r\n")


async def _a_body_that_nobody_wants(wired: Wire) -> None:
    wired.send(GET + b"Content-Length: 9\r\n\r\n")
    assert (await wired.answer()).status == 200
    wired.send(b"x")


@pytest.mark.parametrize("begin", [_nothing, _empty_lines, _a_body_that_nobody_wants])
async def test_a_connection_without_a_request_is_closed(
    plain: httpx.AsyncClient, begin: Callable[[Wire], object], hasty: None
) -> None:
    async with wire(plain) as wired:
        await begin(wired)  # type: ignore[misc]

        assert await wired.rest() == b""


async def test_a_body_has_its_deadline(
    web: httpx.AsyncClient, web_engine: AsyncEngine, hasty: None
) -> None:
    """On the fast path and on FastAPI's route: with the same headers."""
    headers: list[set[str]] = []
    owner = await new_account(web_engine)
    token = f"Authorization: {owner.headers['Authorization']}\r\n".encode()
    for unusual in (b"", b"Prefer: wait=1\r\n"):
        head = POST.replace(b"/register/", b"/orders/") + token + unusual
        async with wire(web) as wired:
            wired.send(head + b'Content-Length: 9\r\n\r\n{"')

            answer = await wired.answer()
            assert answer.status == 408
            assert await wired.rest() == b""
            headers.append(set(answer.headers))

    assert headers[0] == headers[1]


@pytest.mark.parametrize("behind", [0, 1])
async def test_who_takes_nothing_of_his_answer_is_cut_off(
    plain: httpx.AsyncClient, hasty: None, behind: int
) -> None:
    """Both while the last answer waits to be taken, and while the next one waits behind it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, (plain.base_url.host, plain.base_url.port))
        await loop.sock_sendall(deaf, GET.replace(b"/openapi.json", LARGE) + b"\r\n")
        await loop.sock_sendall(deaf, (GET + b"\r\n") * behind)

        await _until_reset(deaf)


def test_who_is_cut_off_with_requests_waiting_is_no_mistake_of_ours(
    hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """On the loop that serves in production: there a write to what is closed is an error."""

    async def cut_off() -> None:
        async with serving(plain_app()) as client:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, (client.base_url.host, client.base_url.port))
                request = GET.replace(b"/openapi.json", LARGE) + b"\r\n"
                await loop.sock_sendall(deaf, request * 3)
                await _until_reset(deaf)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(cut_off())

    assert [record.getMessage() for record in caplog.records] == []


async def test_shed_responses_do_not_pile_up_for_a_client_that_reads_none() -> None:
    """The process holds as many as uvicorn lets a connection write ahead, and `PIPELINED_MAX` more.
    Without the bound each read of pipelined requests adds megabytes, for as long as they come."""
    app = create_app(Settings())  # type: ignore[call-arg]
    active = app.state.admission.concurrency.of("orders-write")
    active.count = REQUESTS_IN_WORK_MAX
    loop = asyncio.get_running_loop()
    async with _listening(app) as (address, connections):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await loop.sock_recv(client, 4_096)).startswith(b"HTTP/1.1 200 ")
            [connection] = connections
            server = connection.transport.get_extra_info("socket")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

            await loop.sock_sendall(client, CANCEL * 5_000)
            async with asyncio.timeout(10):
                while not connection.flow.write_paused:
                    await asyncio.sleep(0.005)
            unread_bytes = connection.transport.get_write_buffer_size()
            assert unread_bytes < HIGH_WATER_LIMIT + 1_000  # the response that went beyond it
            received = await _received(client)

    assert received.startswith(b"HTTP/1.1 503 ")
    assert PIPELINED_MAX < received.count(b"HTTP/1.1 503 ") < 5 * PIPELINED_MAX


@asynccontextmanager
async def _listening(app: FastAPI) -> AsyncIterator[tuple[tuple[str, int], list[Connection]]]:
    """An address of the application, and the connections to it."""
    config = uvicorn.Config(
        app, http=Connection, ws="none", lifespan="off", proxy_headers=False, log_config=None
    )
    config.load()
    connections: list[Connection] = []

    def made() -> Connection:
        connections.append(Connection(config, ServerState(), {}))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname(), connections


async def _received(client: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    loop, received = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while piece := await loop.sock_recv(client, 65_536):
                received += piece
    return bytes(received)


async def _until_reset(held: socket.socket) -> None:
    await eventually(lambda: held.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


async def test_an_answer_is_never_given_to_another_request(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    """What follows a command is no request: its 400 must not pass for the command's answer."""
    owner = await new_account(web_engine)
    body = json.dumps({"items": ITEMS}).encode()
    head = POST.replace(b"/register/", b"/orders/")
    head += f"Authorization: {owner.headers['Authorization']}\r\n".encode()
    async with wire(web) as wired:
        wired.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"\x00\r\n\r\n")
        answer = await wired.answer()
        assert await wired.rest() == b""

    assert answer.status == 201
    assert await stored_events(web_engine) == 1


async def test_a_body_that_breaks_off_stores_nothing(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    owner = await new_account(web_engine)
    head = POST.replace(b"/register/", b"/orders/") + b"Transfer-Encoding: chunked\r\n"
    head += f"Authorization: {owner.headers['Authorization']}\r\n".encode()
    async with wire(web) as wired:
        wired.send(head + b"\r\n3\r\n{}x\r\nnone\r\n")
        answer = await wired.answer()
        assert await wired.rest() == b""

    assert answer.status == 400
    assert await stored_events(web_engine) == 0


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


async def test_a_body_is_not_lost_to_an_upgrade(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    """The JDK's client and `curl --http2` offer HTTP/2 with their first request, whose body the
    parser would drop."""
    staff = await new_account(web_engine, role="staff")
    order = (await place(web, staff)).json()
    body = b'{"reason": "OUT_OF_STOCK", "quantity": 1}'
    head = (
        f"POST /orders/{order['id']}/lines/1/cancel/ HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {staff.headers['Authorization']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode()
    async with wire(web) as wired:
        wired.send(head + UPGRADE + b"\r\n" + body)
        answer = await wired.answer()

    assert answer.status == 200
    assert [item["canceled"] for item in json.loads(answer.body)["items"]] == [1, 0]
    assert "upgrade" not in answer.headers


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "more", [b"", b"Connection: close\r\n", b"Expect: 100-continue\r\n"], ids=repr
)
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 2\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"\r\n",
    ],
    ids=["length", "chunks", "none"],
)
async def test_an_upgrade_is_ignored_and_the_next_request_is_answered(
    web: httpx.AsyncClient, body: bytes, more: bytes, size: int
) -> None:
    request = POST + UPGRADE + more + body
    whole = request * 2 + GET + UPGRADE + b"\r\n" + GET + b"\r\n"
    async with wire(web) as wired:
        for at in range(0, len(whole), size):
            wired.send(whole[at : at + size])
        answers = [await wired.answer() for _ in range(1 if b"close" in more else 4)]

    missing = 400 if body == b"\r\n" else 422
    assert [answer.status for answer in answers] == [missing, missing, 200, 200][: len(answers)]


async def test_a_head_with_an_upgrade_has_the_same_limits(web: httpx.AsyncClient) -> None:
    async with wire(web) as wired:
        wired.send(GET + UPGRADE + field(HEAD_BYTES_MAX) + b"\r\n" + GET + b"\r\n")
        answer = await wired.answer()
        assert await wired.rest() == b""

    assert answer.status == 431


async def test_one_connection_too_many_is_refused(
    plain: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMIT.format("CONNECTIONS_MAX"), 2)
    async with wire(plain) as first, wire(plain) as second:
        for wired in (first, second):
            wired.send(GET + b"\r\n")
            assert (await wired.answer()).status == 200

        async with wire(plain) as third:
            answer = await third.answer()
            assert await third.rest() == b""

        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        second.send(GET + b"\r\n")
        assert (await second.answer()).status == 200


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(64, 32), (1_024, 1_024 - DESCRIPTORS_KEPT), (1_000_000, CONNECTIONS_MAX)],
)
def test_connections_leave_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))

    assert connections_max() == connections
