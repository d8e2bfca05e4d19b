"""Compressed answers: the same content, tags that say which bytes, and nothing where it was not
asked for."""

import zlib
from typing import Any

import httpx
import pytest
import zstandard
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import COMPRESSED_BYTES_MIN
from tests.support.http.accounts import PASSWORD, Account
from tests.support.http.orders import act, change, place
from tests.support.read_side.read_side import ReadSide
from tests.support.waiting import WAIT_S

CODINGS = ("gzip", "zstd")
MANY = [{"sku": f"PEN-{n}", "quantity": 1, "unit_price": "9.99"} for n in range(12)]
# A header that the fast path does not know sends the request to FastAPI's route.
WAYS = [{}, {"Prefer": "respond-async"}]


def plain(coding: str, data: bytes) -> bytes:
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return zlib.decompress(data, 16 + zlib.MAX_WBITS)


async def raw(
    web: httpx.AsyncClient, who: Account, path: str, **headers: str
) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it was sent."""
    plain_headers = {"Accept-Encoding": "identity", **who.headers}
    async with (  # a client of its own: that of the service reads each body to check it
        httpx.AsyncClient(base_url=web.base_url, timeout=WAIT_S) as client,
        client.stream("GET", path, headers=plain_headers | headers) as answer,
    ):
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


def coded(coding: str, **headers: str) -> dict[str, str]:
    return {"Accept-Encoding": coding, **headers}


@pytest.mark.parametrize("way", WAYS, ids=["fast path", "route"])
@pytest.mark.parametrize("coding", CODINGS)
async def test_an_order_is_compressed_where_the_client_accepts_it(
    web: httpx.AsyncClient, owner: Account, coding: str, way: dict[str, str]
) -> None:
    path = f"/orders/{(await place(web, owner, items=MANY)).json()['id']}/"

    answer, sent = await raw(web, owner, path, **coded(coding, **way))
    unasked, document = await raw(web, owner, path, **way)

    assert answer.headers["content-encoding"] == coding
    assert int(answer.headers["content-length"]) == len(sent) < len(document) / 2
    assert plain(coding, sent) == document
    assert answer.headers["etag"] == f'"1-{coding}"'
    assert unasked.headers["etag"] == '"1"'
    assert "content-encoding" not in unasked.headers
    for each in (answer, unasked):
        assert {"Origin", "Accept-Encoding", "Authorization"} == {
            name.strip() for value in each.headers.get_list("vary") for name in value.split(",")
        }


@pytest.mark.parametrize("way", WAYS, ids=["fast path", "route"])
@pytest.mark.parametrize("coding", CODINGS)
async def test_conditions_take_the_tag_of_a_compressed_answer(
    web: httpx.AsyncClient, owner: Account, staff: Account, coding: str, way: dict[str, str]
) -> None:
    order = await place(web, owner, items=MANY)
    path = f"/orders/{order.json()['id']}/"
    tag = (await raw(web, owner, path, **coded(coding)))[0].headers["etag"]

    unchanged, _ = await raw(web, owner, path, **coded(coding, **{"If-None-Match": tag}, **way))
    changed = await change(web, staff, order, {"If-Match": tag, **way}, status="PAID")
    too_late = await change(web, staff, order, {"If-Match": tag, **way}, status="SHIPPED")
    weak = await act(web, owner, order, "notes/", {"text": "x"}, headers={"If-Match": f"W/{tag}"})
    again, _ = await raw(web, owner, path, **coded(coding, **{"If-None-Match": tag}, **way))

    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, tag)
    assert "content-encoding" not in unchanged.headers
    assert (changed.status_code, changed.headers["etag"]) == (200, '"3"')
    assert (too_late.status_code, weak.status_code) == (412, 412)
    assert (again.status_code, again.headers["etag"]) == (200, f'"3-{coding}"')


@pytest.mark.parametrize("coding", CODINGS)
async def test_lists_and_exports_are_compressed(
    web: httpx.AsyncClient, owner: Account, staff: Account, read_side: ReadSide, coding: str
) -> None:
    for _ in range(3):
        await place(web, owner, items=MANY)
    await read_side.advance()
    paths = [
        f"/orders/user/{owner.user_id}/",
        "/orders/",
        "/orders/export/?format=csv",
        "/orders/export/?format=ndjson",
        "/openapi.json",
    ]
    for path in paths:
        answer, sent = await raw(web, staff, path, **coded(coding))
        unasked, content = await raw(web, staff, path)

        assert (answer.status_code, answer.headers["content-encoding"]) == (200, coding), path
        assert plain(coding, sent) == content, path
        assert answer.headers["content-type"] == unasked.headers["content-type"]
        assert len(sent) < len(content)


async def test_what_is_short_or_secret_or_a_stream_is_not_compressed(
    web: httpx.AsyncClient, owner: Account
) -> None:
    """A stream's events must not wait in a compressor, and no token shares one with anything."""
    login: dict[str, Any] = {"username": owner.email, "password": PASSWORD}
    order = (await place(web, owner)).json()
    short = f"/orders/{order['id']}/events/?limit=1"

    answers = [
        await web.post("/token/", data=login, headers=coded("gzip")),
        await web.post("/stream-tickets/", headers=owner.headers | coded("gzip")),
        await web.post("/orders/", json={"items": MANY}, headers=owner.headers | coded("gzip")),
        await web.get("/version", headers=coded("gzip")),
        await web.get(short, headers=owner.headers | coded("gzip")),
        await web.get("/orders/?sort=no", headers=owner.headers | coded("gzip")),
        await web.head(f"/orders/{order['id']}/stream", headers=owner.headers | coded("gzip")),
    ]

    assert len(answers[2].content) > COMPRESSED_BYTES_MIN > len(answers[4].content)
    assert [a.headers.get("content-encoding") for a in answers] == [None] * len(answers)


async def test_head_has_the_length_of_the_compressed_answer(
    web: httpx.AsyncClient, owner: Account
) -> None:
    path = f"/orders/{(await place(web, owner, items=MANY)).json()['id']}/"

    _, sent = await raw(web, owner, path, **coded("gzip"))
    head = await web.head(path, headers=owner.headers | coded("gzip"))

    assert head.headers["content-length"] == str(len(sent))
    assert (head.headers["etag"], head.headers["content-encoding"]) == ('"1-gzip"', "gzip")


async def test_a_large_answer_is_compressed_in_a_thread(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.COMPRESSED_INLINE_BYTES_MAX", 1_024)
    await place(web, owner, items=MANY)
    path = f"/orders/{(await place(web, owner, items=MANY)).json()['id']}/events/"

    _, sent = await raw(web, owner, path, **coded("zstd"))

    assert plain("zstd", sent) == (await raw(web, owner, path))[1]
