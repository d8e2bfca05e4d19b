"""An order as it was, at a version or a time, byte for byte; and who may see it."""

from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.http.accounts import Account
from tests.support.http.queries import get, new_order, set_status
from tests.support.log.given_log import RawEvent, given_order


@pytest.fixture
async def served(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> dict[int, httpx.Response]:
    """The answers that an order has had, by its version then."""
    placed = await web.post(
        "/orders/",
        json={"items": [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]},
        headers=owner.headers,
    )
    order_id = placed.json()["id"]
    answers = [placed, *[await set_status(web, staff, order_id, s) for s in ("PAID", "SHIPPED")]]
    return {answer.json()["version"]: answer for answer in answers}


async def test_a_version_comes_in_the_bytes_that_it_had_then(
    web: httpx.AsyncClient, owner: Account, served: dict[int, httpx.Response]
) -> None:
    path = f"/orders/{served[1].json()['id']}/"

    by_version = [await get(web, owner, f"{path}?version={version}") for version in served]
    times = [then.json()["updated_at"] for then in served.values()]
    by_time = [await get(web, owner, f"{path}?as_of={at}") for at in times]

    bytes_then = [(then.content, f'"{version}"') for version, then in served.items()]
    assert [(a.content, a.headers["etag"]) for a in served.values()] == bytes_then
    assert [(a.content, a.headers["etag"]) for a in by_version] == bytes_then
    assert [(a.content, a.headers["etag"]) for a in by_time] == bytes_then
    between = await get(web, owner, f"{path}?version=2")
    by_number = await get(web, owner, f"/orders/{served[1].json()['number']}/?version=1")
    unchanged = await get(web, owner, f"{path}?version=3", {"If-None-Match": '"3"'})
    offset = "2099-01-01T00:00:00.5%2B05:30"

    assert between.json()["captured"] == "19.98"
    assert by_number.content == served[1].content
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await get(web, owner, f"{path}?as_of={offset}")).content == served[5].content


async def test_what_never_was_is_refused(
    web: httpx.AsyncClient, owner: Account, other: Account, served: dict[int, httpx.Response]
) -> None:
    path = f"/orders/{served[1].json()['id']}/"
    beyond = await get(web, owner, f"{path}?version=6")
    wrong = {
        "version=6": "version",
        "version=0": "version",
        "version=-1": "version",
        "version=9999999999": "version",
        "as_of=2026-03-01T12:00:00": "as_of",
        "version=1&as_of=2099-01-01T00:00:00Z": "as_of",
        "verison=1": "verison",
    }

    answers = {query: await get(web, owner, f"{path}?{query}") for query in wrong}
    before = await get(web, owner, f"{path}?as_of=2020-01-01T00:00:00Z")
    foreign = [await get(web, other, f"{path}?{q}") for q in ("version=1", "version=6")]
    nobodys = await get(web, owner, "/orders/A-100042-1/?version=x")

    assert "version 5: expected 1 to 5" in beyond.json()["errors"][0]["detail"]
    named = {q: (a.status_code, a.json()["errors"][0]["parameter"]) for q, a in answers.items()}
    assert named == {query: (422, name) for query, name in wrong.items()}
    assert {answer.status_code for answer in (before, *foreign)} == {404}
    assert len({answer.json()["detail"] for answer in (before, *foreign)}) == 1
    assert nobodys.status_code == 422  # what was sent is judged before anything is looked up


async def test_versions_before_an_unreadable_event_can_still_be_read(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    placed = await new_order(web, owner)
    poison = RawEvent("OrderFrobnicated", "{}")
    await given_order(web_engine, poison, stream_id=UUID(placed["id"]), expected=1)

    readable = await get(web, owner, f"/orders/{placed['id']}/?version=1")
    unreadable = await get(web, owner, f"/orders/{placed['id']}/?version=2")

    assert (readable.json(), readable.headers["etag"]) == (placed, '"1"')
    assert (unreadable.json(), unreadable.headers["order-stale"]) == (placed, "true")
    assert "etag" not in unreadable.headers
