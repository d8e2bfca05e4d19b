"""Server-sent events: nothing is lost or told twice, to those who may listen, and bounded."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.domain.events import OrderPlaced
from order_service.main import create_app
from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.conftest import ROOT, serving
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import change, place, problem
from tests.support.http.sse import Sent, listening
from tests.support.log.examples import PAID, PEN
from tests.support.log.given_log import RawEvent, given_order
from tests.support.waiting import WAIT_S, eventually


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")


async def test_an_order_s_stream_begins_at_its_first_event_and_goes_on(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    path = f"/orders/{order.json()['id']}"

    async with listening(web, f"{path}/stream", owner.headers) as stream:
        placed = await stream.take(1)
        await change(web, staff, order, status="PAID")
        paid = await stream.take(2)
    async with listening(
        web, f"{path}/stream/", owner.headers | {"Last-Event-ID": placed[0].id}
    ) as stream:
        resumed = await stream.take(2)
    timeline = (await web.get(f"{path}/events/", headers=owner.headers)).json()["events"]

    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["cache-control"] == "no-store"
    assert [(sent.id, sent.event) for sent in placed + paid] == [
        ("1", "OrderPlaced"),
        ("2", "PaymentCaptured"),
        ("3", "OrderPaid"),
    ]
    assert [sent.data for sent in placed + paid] == timeline
    assert resumed == paid


async def test_resuming_loses_nothing_while_orders_are_being_placed(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    """A client that is cut off after every third event still gets each event once, and those of a
    partition in their order."""
    seen: list[Sent] = []

    async def listen() -> None:
        last_id = first_id
        while len(seen) < 40:
            headers = staff.headers | {"Last-Event-ID": last_id}
            async with listening(web, "/events/stream", headers) as stream:
                seen.extend(await stream.take(min(3, 40 - len(seen))))
                last_id = stream.last_id

    async with listening(web, "/events/stream", staff.headers) as stream:
        order = await place(web, owner)
        assert [sent.data["order_id"] for sent in await stream.take(1)] == [order.json()["id"]]
        first_id = stream.last_id
    listener = asyncio.create_task(listen())
    placed = []
    for _ in range(8):
        placed += await asyncio.gather(*(place(web, owner) for _ in range(5)))
    async with asyncio.timeout(WAIT_S):
        await listener

    ids = [sent.data["order_id"] for sent in seen]
    assert sorted(ids) == sorted(order.json()["id"] for order in placed)
    vectors = [tuple(map(int, sent.id.split("."))) for sent in seen]
    assert vectors == sorted(vectors, key=sum)
    steps = itertools.pairwise(vectors)
    assert all(sum(b) == sum(a) + 1 and min(map(int.__sub__, b, a)) == 0 for a, b in steps)


async def test_what_a_viewer_may_not_see_or_nobody_can_read_still_moves_the_stream_on(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    placed = OrderPlaced(UUID(owner.user_id), "USD", (PEN,), 0, 0, 1998)
    hidden = RawEvent("OrderNoteAdded", '{"visibility": "internal"}')
    order_id = await given_order(web_engine, placed, RawEvent("OrderFrobnicated", "{}"), hidden)
    path = f"/orders/{order_id}/stream"

    async with listening(web, path, owner.headers) as stream:
        first = await stream.take(2)
        await stream.reach("3")
        await given_order(web_engine, PAID, stream_id=order_id, expected=3)
        last = await stream.take(1)
    async with listening(web, f"{path}?since=2", owner.headers) as stream:
        resumed = await stream.take(1)

    assert [(sent.id, sent.event) for sent in first + last] == [
        ("1", "OrderPlaced"),
        ("2", "OrderFrobnicated"),
        ("4", "OrderPaid"),
    ]
    assert (first[1].data["data"], first[1].data["unreadable"]) == (None, True)
    assert resumed == last


async def test_streams_are_for_those_who_may_see_the_orders(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, staff: Account
) -> None:
    order_id = (await place(web, owner)).json()["id"]
    other = await new_account(web_engine)
    mine = f"/orders/{order_id}/stream"
    expected = {
        (mine, other.user_id): (404, "order-not-found"),
        ("/orders/nonsense/stream", owner.user_id): (404, "order-not-found"),
        ("/events/stream", owner.user_id): (403, "forbidden"),
        (mine, None): (401, "authentication-required"),
        (f"{mine}?since=2", owner.user_id): (400, "malformed-request"),
        (f"{mine}?since=", owner.user_id): (400, "malformed-request"),
        (f"{mine}?since=99999999999", owner.user_id): (400, "malformed-request"),
        (f"{mine}?sinec=1", owner.user_id): (422, "validation"),
        (f"{mine}?since=1&since=0", owner.user_id): (422, "validation"),
        (f"{mine}?sinec=1", None): (401, "authentication-required"),
        ("/events/stream?since=0.0.0", staff.user_id): (400, "malformed-request"),
        ("/events/stream?since=0.0.0.x", staff.user_id): (400, "malformed-request"),
        ("/events/stream?since=9.9.9.9", staff.user_id): (400, "malformed-request"),
    }
    headers = {who.user_id: who.headers for who in (owner, other, staff)}

    answers = {
        (path, who): await web.get(path, headers=headers.get(who or "", {}))
        for path, who in expected
    }

    assert {asked: problem(answer) for asked, answer in answers.items()} == expected


async def test_a_ticket_opens_one_stream_once(web: httpx.AsyncClient, owner: Account) -> None:
    order_id = (await place(web, owner)).json()["id"]
    answer = await web.post("/stream-tickets/", headers=owner.headers)
    ticket = answer.json()["ticket"]

    elsewhere = await web.get(f"/orders/{order_id}/?ticket={ticket}")
    async with listening(web, f"/orders/{order_id}/stream?ticket={ticket}") as stream:
        [placed] = await stream.take(1)
    again = await web.get(f"/orders/{order_id}/stream?ticket={ticket}")
    unknown = await web.get("/events/stream?ticket=nonsense", headers=owner.headers)

    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in"] == 30
    assert elsewhere.status_code == 401
    assert placed.event == "OrderPlaced"
    assert [problem(again), problem(unknown)] == [(401, "token-invalid")] * 2
    assert ticket not in again.text + unknown.text


async def test_without_redis_there_are_no_tickets(
    settings: Settings, web: httpx.AsyncClient, owner: Account
) -> None:
    ticket = (await web.post("/stream-tickets/", headers=owner.headers)).json()["ticket"]
    async with serving(create_app(settings.model_copy(update={"REDIS_PORT": 9}))) as cut_off:
        answers = [
            await cut_off.post("/stream-tickets/", headers=owner.headers),
            await cut_off.get(f"/events/stream?ticket={ticket}", headers=owner.headers),
        ]

    assert [(a.status_code, a.json()["dependency"]) for a in answers] == [(503, "cache")] * 2


async def test_a_user_s_streams_are_counted_until_they_end(
    web: httpx.AsyncClient, owner: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS_PER_USER_MAX", 1)
    path = f"/orders/{(await place(web, owner)).json()['id']}/stream"

    async with listening(web, path, owner.headers) as stream:
        await stream.take(1)
        refused = await web.get(path, headers=owner.headers)
    await _opens(web, path, owner)

    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["streams-user"]


async def _opens(web: httpx.AsyncClient, path: str, who: Account) -> None:
    """Another stream of the user's may be opened, soon."""

    async def opens() -> bool:
        async with listening(web, path, who.headers) as stream:
            return stream.answer.status_code == 200

    await eventually(opens)


async def test_a_client_that_takes_nothing_is_cut_off(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    owner: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STREAMS_PER_USER_MAX", 1)
    monkeypatch.setattr(limits, "STREAM_SEND_TIMEOUT_S", 0.2)
    monkeypatch.setattr(limits, "STREAM_END_TIMEOUT_S", 0.1)
    placed = OrderPlaced(UUID(owner.user_id), "USD", (PEN,), 0, 0, 1998)
    large = RawEvent("OrderCanceled", f'{{"reason":"OTHER","previous_status":"{"x" * 60_000}"}}')
    order_id = await given_order(web_engine, placed, *[large] * 200)
    path = f"/orders/{order_id}/stream"

    async with web.stream("GET", path, headers=owner.headers) as slow:
        refused = await web.get(path, headers=owner.headers)
        await _opens(web, path, owner)

    assert (slow.status_code, refused.status_code) == (200, 429)


async def test_a_stream_shows_that_it_is_alive_and_ends_whole(
    web: httpx.AsyncClient, owner: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_HEARTBEAT_S", 0.1)
    monkeypatch.setattr(limits, "STREAM_LIFETIME_S", 2.0)
    path = f"/orders/{(await place(web, owner)).json()['id']}/stream"

    async with listening(web, path, owner.headers) as stream:
        sent = await stream.take(2)

    assert [event.event for event in sent] == ["OrderPlaced"]
    assert 2 <= stream.comments <= 20


async def test_an_open_stream_does_not_hold_the_end_of_the_process_up(
    settings: Settings, web: httpx.AsyncClient, owner: Account
) -> None:
    """The process as it is started in production; nor does its log show the ticket."""
    order = await place(web, owner)
    port = free_port()
    process = _web_process(settings, port)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as client:
            await eventually(lambda: _answers(client))
            ticket = (await web.post("/stream-tickets/", headers=owner.headers)).json()["ticket"]
            path = f"/orders/{order.json()['id']}/stream?ticket={ticket}"
            async with listening(client, path) as stream:
                [placed] = await stream.take(1)
                told = time.monotonic()
                process.send_signal(signal.SIGTERM)
                rest = await stream.take(1)
        printed, _ = process.communicate(timeout=WAIT_S)
        took_s = time.monotonic() - told
    finally:
        process.kill()

    assert (placed.event, rest) == ("OrderPlaced", [])
    assert took_s < limits.SHUTDOWN_GRACE_S
    assert "Finished server process" in printed
    assert ticket not in printed


def _web_process(settings: Settings, port: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "order_service.cli", "web", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False
