"""The fast path: which requests it takes, and that it answers like FastAPI's routes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.main import OrderService, create_app
from order_service.settings import Settings
from order_service.web.client_address import Client
from order_service.web.fast_path import RequestHead
from tests.conftest import serving
from tests.support.http.accounts import Account, new_account
from tests.support.http.queries import new_order, set_status
from tests.support.http.raw_http import wire
from tests.support.waiting import eventually

# The fast path knows no preferences, so a request that has one goes to FastAPI.
UNUSUAL = {"Prefer": "respond-async"}
# These differ from request to request, whichever way it takes.
VOLATILE = {
    *("content-length", "date", "x-request-id", "ratelimit", "consistency-token", "location"),
    "server-timing",  # of FastAPI's routes only
}
VOLATILE_MEMBERS = {"id", "number", "created_at", "updated_at", "instance", "request_id", "at"}
ID = re.compile("[0-9a-f-]{36}")
LINES = {"items": [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]}


@dataclass(frozen=True)
class Ways:
    """A service that gets each request twice: on the fast path, and on FastAPI's route."""

    app: OrderService
    client: httpx.AsyncClient
    owner: Account
    other: Account
    staff: Account
    taken: list[str] = field(default_factory=list)

    async def both(self, ask: "Ask") -> None:
        """Both answers are equal; the first came by the fast path, the second did not."""
        answers = []
        for extra in ({}, UNUSUAL):
            self.taken.clear()
            method, path, options = await ask(self)
            headers = {**self.owner.headers, **options.pop("headers", {}), **extra}
            answer = await self.client.request(method, path, headers=headers, **options)
            answers.append(answer)
            assert bool(self.taken) == (extra == {}), "the way that was meant"
        fast, route = map(_constant, answers)
        assert fast == route


def _constant(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    headers = {k: v for k, v in answer.headers.items() if k not in VOLATILE}
    return answer.status_code, headers, _without_volatile(answer.json() if answer.content else None)


def _without_volatile(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_volatile(item) for item in value]
    if isinstance(value, dict):
        return {k: _without_volatile(v) for k, v in value.items() if k not in VOLATILE_MEMBERS}
    return ID.sub("an id", value) if isinstance(value, str) else value


@pytest.fixture
async def ways(settings: Settings, redis: Redis, web_engine: AsyncEngine) -> AsyncIterator[Ways]:
    app = create_app(settings.model_copy(update={"RATE_LIMIT": "1000000/minute"}))
    taken: list[str] = []
    begin = app.fast_path.begin

    def noted(method: str, url: bytes, *head: Any) -> RequestHead | None:
        found = begin(method, url, *head)
        if found is not None:
            taken.append(url.decode())
        return found

    app.fast_path.begin = noted  # type: ignore[assignment, method-assign]  # records, and changes nothing
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(serving(app))
        owner, other = [await new_account(web_engine) for _ in range(2)]
        staff = await new_account(web_engine, role="staff")
        yield Ways(app, client, owner, other, staff, taken)


Request = tuple[str, str, dict[str, Any]]
Ask = Callable[[Ways], Any]


async def _placed(ways: Ways, who: Account | None = None) -> str:
    order = await new_order(ways.client, who or ways.owner)
    ways.taken.clear()
    return f"/orders/{order['id']}/"


async def _read(ways: Ways) -> Request:
    return "GET", await _placed(ways), {}


async def _read_again(ways: Ways) -> Request:
    path = await _placed(ways)
    await ways.client.get(path, headers=ways.owner.headers)
    ways.taken.clear()
    return "GET", path, {}


async def _read_unchanged(ways: Ways) -> Request:
    return "GET", await _placed(ways), {"headers": {"If-None-Match": 'W/"1"'}}


async def _read_changed(ways: Ways) -> Request:
    return "GET", await _placed(ways), {"headers": {"If-None-Match": '"7"'}}


async def _read_what_is_nobody_s(_: Ways) -> Request:
    return "GET", f"/orders/{uuid4()}/", {}


async def _read_somebody_else_s(ways: Ways) -> Request:
    return "GET", await _placed(ways, ways.other), {}


async def _read_from_another_origin(ways: Ways) -> Request:
    return "GET", await _placed(ways), {"headers": {"Origin": "http://localhost"}}


async def _read_with_a_wrong_token(ways: Ways) -> Request:
    return "GET", await _placed(ways), {"headers": {"Authorization": "Bearer a.b.c"}}


async def _place(_: Ways) -> Request:
    return "POST", "/orders/", {"json": LINES, "headers": {"If-Match": "ignored"}}


async def _place_under_a_key(_: Ways) -> Request:
    return "POST", "/orders/", {"json": LINES, "headers": {"Idempotency-Key": f'"{uuid4()}"'}}


async def _place_again(ways: Ways) -> Request:
    asked = await _place_under_a_key(ways)
    await ways.client.post("/orders/", json=LINES, headers=ways.owner.headers | asked[2]["headers"])
    ways.taken.clear()
    return asked


async def _place_under_a_bad_key(_: Ways) -> Request:
    return "POST", "/orders/", {"json": LINES, "headers": {"Idempotency-Key": '"a'}}


async def _place_for_another(ways: Ways) -> Request:
    return "POST", "/orders/", {"json": LINES | {"user_id": str(uuid4())}}


async def _place_nothing(_: Ways) -> Request:
    return "POST", "/orders/", {"json": {"items": [], "extra": 1}}


async def _place_twice_the_same_member(_: Ways) -> Request:
    content = b'{"items": [], "items": []}'
    return "POST", "/orders/", {"content": content, "headers": JSON}


async def _place_what_is_no_json(_: Ways) -> Request:
    return "POST", "/orders/", {"content": b'{"items": NaN}', "headers": JSON}


async def _cancel(ways: Ways) -> Request:
    return "PATCH", await _placed(ways), {"json": {"status": "CANCELED", "note": "no more"}}


async def _set_what_it_is(ways: Ways) -> Request:
    return "PATCH", await _placed(ways), {"json": {"status": "PENDING"}}


async def _pay_by_staff(ways: Ways) -> Request:
    return "PATCH", await _placed(ways), {"json": {"status": "PAID"}, "headers": ways.staff.headers}


async def _pay_by_the_owner(ways: Ways) -> Request:
    return "PATCH", await _placed(ways), {"json": {"status": "PAID"}}


async def _deliver_what_is_not_shipped(ways: Ways) -> Request:
    asked = {"json": {"status": "DELIVERED"}, "headers": ways.staff.headers}
    return "PATCH", await _placed(ways), asked


async def _cancel_as_it_was(ways: Ways) -> Request:
    path = await _placed(ways)
    await set_status(ways.client, ways.staff, path.split("/")[2], "PAID")
    ways.taken.clear()
    return "PATCH", path, {"json": {"status": "CANCELED"}, "headers": {"If-Match": '"1"'}}


async def _cancel_with_a_bad_tag(ways: Ways) -> Request:
    asked = {"json": {"status": "CANCELED"}, "headers": {"If-Match": "1"}}
    return "PATCH", await _placed(ways), asked


async def _cancel_somebody_else_s(ways: Ways) -> Request:
    return "PATCH", await _placed(ways, ways.other), {"json": {"status": "CANCELED"}}


async def _set_what_cannot_be_set(ways: Ways) -> Request:
    return "PATCH", await _placed(ways), {"json": {"status": "RETURNED"}}


JSON = {"Content-Type": "application/json"}
ASKS: tuple[Ask, ...] = (
    *(_read, _read_again, _read_unchanged, _read_changed, _read_what_is_nobody_s),
    *(_read_somebody_else_s, _read_from_another_origin, _read_with_a_wrong_token),
    *(_place, _place_under_a_key, _place_again, _place_under_a_bad_key, _place_for_another),
    *(_place_nothing, _place_twice_the_same_member, _place_what_is_no_json),
    *(_cancel, _set_what_it_is, _pay_by_staff, _pay_by_the_owner, _deliver_what_is_not_shipped),
    *(_cancel_as_it_was, _cancel_with_a_bad_tag, _cancel_somebody_else_s, _set_what_cannot_be_set),
)


@pytest.mark.parametrize("ask", ASKS)
async def test_the_fast_path_answers_like_fastapi_s_routes(ways: Ways, ask: Ask) -> None:
    await ways.both(ask)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/orders/{}", ()),
        ("GET", "/orders/", ()),
        ("GET", "/orders/A-1-8/", ()),
        ("GET", "/orders/{}/?version=1", ()),
        ("GET", "/%6frders/{}/", ()),
        ("HEAD", "/orders/{}/", ()),
        ("DELETE", "/orders/{}/", ()),
        ("GET", "/orders/{}/", ((b"host", b"twice"),)),
        ("GET", "/orders/{}/", ((b"authorization", b"Bearer twice"),)),
        ("GET", "/orders/{}/", ((b"if-none-match", b'"1"'), (b"if-none-match", b'"2"'))),
        ("GET", "/orders/{}/", ((b"consistency-token", b"A" * 36),)),
        ("GET", "/orders/{}/", ((b"origin", b"https://elsewhere.example"),)),
        ("GET", "/orders/{}/", ((b"content-length", b"2"),)),
        ("GET", "/orders/{}/", ((b"upgrade", b"h2c"),)),
        ("POST", "/orders/", ()),
        ("POST", "/orders/", ((b"content-type", b"application/json"),)),
        ("POST", "/orders/", ((b"content-type", b"text/plain"), (b"content-length", b"2"))),
        (
            "POST",
            "/orders/",
            ((b"content-type", b"application/json"), (b"content-length", b"262145")),
        ),
        (
            "POST",
            "/orders/",
            ((b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")),
        ),
    ],
)
def test_what_is_not_ordinary_is_left_to_fastapi_uncounted(
    method: str, path: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    app = create_app(Settings())  # type: ignore[call-arg]
    known = ((b"host", b"shop.example"), (b"authorization", b"Bearer a.b.c"))
    url = path.format(uuid4()).encode()

    assert app.fast_path.begin(method, url, Client("127.0.0.1", "http"), [*known, *headers]) is None
    assert app.state.admission.rate_limits.windows.counted.total == 0


async def test_both_ways_share_their_limits(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    limited = create_app(settings.model_copy(update={"RATE_LIMIT": "30/minute"}))
    async with serving(limited) as client:
        account = await new_account(web_engine)
        path = f"/orders/{uuid4()}/"
        statuses = [
            (await client.get(path, headers={**account.headers, **extra})).status_code
            for extra in ({}, UNUSUAL) * 16
        ]

        refused = await client.get(path, headers=account.headers)

    assert statuses == [404] * 30 + [429] * 2
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["orders-read-address"]
    assert int(refused.headers["retry-after"]) >= 1


# --- on the wire ----------------------------------------------------------------------------------


def _request(ways: Ways, method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
    fields = {"Host": "x", **ways.owner.headers}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}{more}\r\n".encode() + body


async def test_requests_behind_one_another_are_answered_in_their_order(ways: Ways) -> None:
    paths = [await _placed(ways) for _ in range(4)]
    async with wire(ways.client) as wired:
        wired.send(b"".join(_request(ways, "GET", path) for path in paths))
        bodies = [json.loads((await wired.answer()).body) for _ in paths]

    assert [f"/orders/{body['id']}/" for body in bodies] == paths
    assert ways.taken == paths[:1]


async def test_the_fast_path_ignores_an_upgrade(ways: Ways) -> None:
    """A default JDK HttpClient offers HTTP/2 so."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    order = json.dumps(LINES).encode()
    path = await _placed(ways)
    async with wire(ways.client) as wired:
        wired.send(_request(ways, "POST", "/orders/", order, offer))
        placed = await wired.answer()
        wired.send(_request(ways, "GET", path, more=offer))
        read = await wired.answer()

    assert (placed.status, read.status) == (201, 200)
    assert f"/orders/{json.loads(read.body)['id']}/" == path
    assert ways.taken == ["/orders/", path]


async def test_what_came_before_something_unreadable_is_answered_all(ways: Ways) -> None:
    paths = [await _placed(ways) for _ in range(2)]
    async with wire(ways.client) as wired:
        requests = (_request(ways, "GET", path) for path in paths)
        wired.send(b"".join(requests) + b"nonsense\r\n\r\n")
        bodies = [json.loads((await wired.answer()).body) for _ in paths]
        assert await wired.rest() == b""

    assert [f"/orders/{body['id']}/" for body in bodies] == paths
    assert ways.taken == paths[:1]


async def test_a_body_may_come_in_pieces_and_the_connection_goes_on(ways: Ways) -> None:
    whole = _request(ways, "POST", "/orders/", json.dumps(LINES).encode())
    async with wire(ways.client) as wired:
        statuses = []
        for _ in range(2):
            for at in range(0, len(whole), 40):
                wired.send(whole[at : at + 40])
                await wired.writer.drain()
                await asyncio.sleep(0)
            statuses.append((await wired.answer()).status)

    assert statuses == [201, 201]
    assert ways.taken == ["/orders/", "/orders/"]
    assert ways.app.state.admission.concurrency.body_bytes == 0


async def test_who_asks_for_it_has_the_connection_closed(ways: Ways) -> None:
    path = await _placed(ways)
    async with wire(ways.client) as wired:
        wired.send(_request(ways, "GET", path, more="Connection: close\r\n"))
        answer = await wired.answer()
        assert await wired.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert "date" in answer.headers
    assert ways.taken == [path]


async def test_what_is_refused_is_told_before_the_body_comes(ways: Ways) -> None:
    stranger = _request(ways, "POST", "/orders/", b"{}").replace(b"Bearer ", b"Bearer x")
    async with wire(ways.client) as wired:
        wired.send(stranger.removesuffix(b"{}"))
        refused = await wired.answer()
        wired.send(b"{}" + _request(ways, "POST", "/orders/", json.dumps(LINES).encode()))
        placed = await wired.answer()

    assert (refused.status, placed.status) == (401, 201)


async def test_who_goes_away_in_the_midst_of_a_body_leaves_nothing_held(ways: Ways) -> None:
    async with wire(ways.client) as wired:
        wired.send(_request(ways, "POST", "/orders/", b"{" * 1_000).removesuffix(b"{"))
        await eventually(lambda: ways.app.state.admission.concurrency.body_bytes == 999)

    await eventually(lambda: ways.app.state.admission.concurrency.body_bytes == 0)
