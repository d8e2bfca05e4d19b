"""HEAD on every GET route: the head of the GET, and no body."""

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import STREAMS_PER_USER_MAX
from tests.integration.api.test_who_may_what import PUBLIC, ROUTES
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import place
from tests.support.http.raw_http import wire

# These differ from request to request.
VOLATILE = {
    *("date", "x-request-id", "ratelimit", "x-cache", "content-disposition", "server-timing"),
}
NAMES = {
    "slug": "validation",
    "name": "swagger-ui.css",
    "name:path": "desk.js",
}
GETS = sorted(route for route in {*ROUTES, *PUBLIC} if route.startswith("GET "))
STREAMS = [route for route in GETS if route.endswith("/stream")]


def constant(answer: httpx.Response, volatile: set[str] = VOLATILE) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k not in volatile}


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")


async def path_of(web: httpx.AsyncClient, staff: Account, route: str) -> str:
    template = route.removeprefix("GET ")
    order_id = (await place(web, staff)).json()["id"] if "{order_id}" in template else ""
    path = template.replace("{order_id}", order_id).replace("{user_id}", staff.user_id)
    for name, value in NAMES.items():
        path = path.replace(f"{{{name}}}", value)
    row = ROUTES.get(route)
    return str(httpx.URL(path, params=row.query if row else None))


@pytest.mark.parametrize("route", [route for route in GETS if route not in STREAMS])
async def test_head_is_answered_as_get_without_a_body(
    web: httpx.AsyncClient, staff: Account, route: str
) -> None:
    """The length, too; but operators' documents differ from one moment to the next."""
    path = await path_of(web, staff, route)
    volatile = VOLATILE | {"transfer-encoding"}
    if "/ops/" in route:
        volatile |= {"content-length"}

    get = await web.get(path, headers=staff.headers)
    head = await web.head(path, headers=staff.headers)

    assert get.status_code < 500 or route == "GET /readyz", get
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert constant(head, volatile) == constant(get, volatile)


@pytest.mark.parametrize("route", STREAMS)
async def test_head_of_a_stream_ends_at_once(
    web: httpx.AsyncClient, staff: Account, route: str
) -> None:
    """One user may have ten streams open."""
    path = await path_of(web, staff, route)

    async with web.stream("GET", path, headers=staff.headers) as get:
        assert get.status_code == 200
    heads = [await web.head(path, headers=staff.headers) for _ in range(STREAMS_PER_USER_MAX + 1)]

    assert {head.status_code for head in heads} == {200}
    assert {head.headers["content-type"] for head in heads} == {get.headers["content-type"]}
    assert not any("transfer-encoding" in head.headers for head in heads)


async def test_the_connection_goes_on_behind_a_head(web: httpx.AsyncClient, staff: Account) -> None:
    path = await path_of(web, staff, STREAMS[0])
    bearer = staff.headers["Authorization"].encode()
    request = b"HEAD %b HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\n\r\n" % (path.encode(), bearer)
    async with wire(web) as wired:
        wired.send(request + b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wired.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (await wired.answer()).body.startswith(b'{"version":')


async def test_a_conditional_head_is_304(web: httpx.AsyncClient, staff: Account) -> None:
    path = f"/orders/{(await place(web, staff)).json()['id']}/"
    headers = {**staff.headers, "If-None-Match": '"1"'}

    get, head = await web.get(path, headers=headers), await web.head(path, headers=headers)

    assert (get.status_code, head.status_code, head.headers["etag"]) == (304, 304, '"1"')
    assert constant(head) == constant(get)


@pytest.mark.parametrize(
    ("path", "status", "allow"),
    [
        ("/register/", 405, "POST"),
        ("/orders/none/notes/", 401, None),
        ("/nothing/", 404, None),
    ],
)
async def test_head_is_refused_as_get_is(
    web: httpx.AsyncClient, path: str, status: int, allow: str | None
) -> None:
    head = await web.head(path)

    assert (head.status_code, head.headers.get("allow")) == (status, allow)
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0


async def test_the_allowed_methods_name_head(web: httpx.AsyncClient) -> None:
    assert (await web.delete("/healthz")).headers["allow"] == "GET, HEAD"
