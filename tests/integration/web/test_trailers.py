"""Trailer fields, which follow a chunked body: read within bounds, and never taken for headers."""

import asyncio
import json

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import (
    BODY_BYTES_MAX,
    BODY_OVERHEAD_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    PIPELINED_MAX,
)
from tests.support.http.accounts import Account
from tests.support.http.orders import ITEMS, place, stored_events
from tests.support.http.raw_http import Answer, wire

BODY = json.dumps({"items": ITEMS}).encode()
JSON = "Content-Type: application/json"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def bearer(account: Account) -> str:
    return f"Authorization: {account.headers['Authorization']}"


def chunked(
    *fields: str,
    trailer: str = "",
    method: str = "POST",
    path: str = "/orders/",
    body: bytes = BODY,
) -> bytes:
    """A request whose body is one chunk. `trailer`: lines, each with its end."""
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *fields, "", ""]
    sent = "\r\n".join(head).encode() + b"%x\r\n" % len(body) + body + b"\r\n0\r\n"
    return sent + trailer.encode() + b"\r\n"


async def answer_to(web: httpx.AsyncClient, sent: bytes) -> Answer:
    async with wire(web) as wired:
        wired.send(sent)
        return await wired.answer()


async def test_a_trailer_is_read_and_ignored(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    """The next request on the connection begins behind it."""
    async with wire(web) as wired:
        wired.send(chunked(bearer(owner), JSON, trailer="Server-Timing: upload;dur=5\r\n") + GET)
        answers = [await wired.answer(), await wired.answer()]

    assert [answer.status for answer in answers] == [201, 200]
    assert await stored_events(web_engine) == 1


async def test_a_token_in_a_trailer_does_not_count(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    answer = await answer_to(web, chunked(JSON, trailer=f"{bearer(owner)}\r\n"))

    assert answer.status == 401
    assert await stored_events(web_engine) == 0


async def test_a_media_type_in_a_trailer_is_none(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    answer = await answer_to(web, chunked(bearer(owner), trailer=f"{JSON}\r\n"))

    assert answer.status == 415
    assert await stored_events(web_engine) == 0


async def test_a_condition_in_a_trailer_is_none(web: httpx.AsyncClient, owner: Account) -> None:
    path = (await place(web, owner)).headers["location"]
    body = b'{"status": "CANCELED"}'
    answer = await answer_to(
        web,
        chunked(
            *(bearer(owner), JSON),
            trailer='If-Match: "9"\r\n',
            method="PATCH",
            path=path,
            body=body,
        ),
    )

    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "CANCELED"


async def test_a_key_in_a_trailer_makes_no_repeat(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    sent = chunked(bearer(owner), JSON, trailer="Idempotency-Key: 5a0c8d5e-once-only\r\n")

    assert [(await answer_to(web, sent)).status for _ in range(2)] == [201, 201]
    assert await stored_events(web_engine) == 2


@pytest.mark.parametrize(
    ("trailer", "status"),
    [
        ("a: b\r\n" * HEADERS_MAX, 201),
        ("a: b\r\n" * (HEADERS_MAX + 1), 431),
        (f"a: {'b' * (HEAD_BYTES_MAX - 1)}\r\n", 201),
        (f"a: {'b' * HEAD_BYTES_MAX}\r\n", 431),
    ],
    ids=["fields that fit", "a field more", "bytes that fit", "a byte more"],
)
async def test_a_trailer_has_the_limits_of_a_head(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, trailer: str, status: int
) -> None:
    async with wire(web) as wired:
        wired.send(chunked(bearer(owner), JSON, trailer=trailer))
        answer = await wired.answer()
        if status == 431:
            assert await wired.rest() == b""

    assert answer.status == status
    assert await stored_events(web_engine) == (status == 201)


async def test_limits_are_each_requests_own(web: httpx.AsyncClient, owner: Account) -> None:
    trailer = "a: b\r\n" * HEADERS_MAX
    async with wire(web) as wired:
        wired.send(chunked(bearer(owner), JSON, trailer=trailer) * 3)

        assert [(await wired.answer()).status for _ in range(3)] == [201] * 3


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("order_service.limits.BODY_RECEIVE_TIMEOUT_S", 0.3)


async def test_a_trailer_comes_within_the_bodys_deadline(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, hasty: None
) -> None:
    async with wire(web) as wired:
        wired.send(chunked(bearer(owner), JSON)[: -len(b"\r\n")])
        answering = asyncio.create_task(wired.answer())
        while not answering.done():
            wired.send(b"a: b\r\n")
            await asyncio.sleep(0.05)
        assert await wired.rest() == b""

    assert (await answering).status == 408
    assert await stored_events(web_engine) == 0


async def test_the_largest_body_may_come_in_chunks_of_one_byte(web: httpx.AsyncClient) -> None:
    one_by_one = b"1\r\n \r\n" * (BODY_BYTES_MAX - 2)
    head = chunked(JSON, path="/register/", body=b"{}")[: -len(b"0\r\n\r\n")]
    answer = await answer_to(web, head + one_by_one + b"0\r\n\r\n")

    assert answer.status == 422


async def test_extensions_of_chunks_have_a_bound_in_all(web: httpx.AsyncClient) -> None:
    extended = b"1;a=" + b"b" * 1_000 + b"\r\n \r\n"
    head = chunked(JSON, path="/register/", body=b"{}")[: -len(b"0\r\n\r\n")]
    chunks = BODY_OVERHEAD_BYTES_MAX // 1_000
    fits = await answer_to(web, head + extended * (chunks // 2) + b"0\r\n\r\n")
    async with wire(web) as wired:
        wired.send(head + extended * (chunks + 100))
        exceeds = await wired.answer()
        assert await wired.rest() == b""

    assert (fits.status, exceeds.status) == (422, 413)


async def test_requests_behind_one_another_have_a_bound(web: httpx.AsyncClient) -> None:
    """Those within it are answered, and the connection ends behind them."""
    async with wire(web) as fits, wire(web) as exceeds:
        fits.send(GET * (1 + PIPELINED_MAX))
        exceeds.send(GET * (1 + PIPELINED_MAX) * 2)
        for _ in range(PIPELINED_MAX):
            assert "connection" not in (await fits.answer()).headers
            assert "connection" not in (await exceeds.answer()).headers
        assert "connection" not in (await fits.answer()).headers
        assert (await exceeds.answer()).headers["connection"] == "close"

        assert await exceeds.rest() == b""
        fits.send(GET)
        assert (await fits.answer()).status == 200
