"""An order that today's code cannot read: who is told what, whichever route they ask (P7)."""

from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.errors import OrderNotFound
from tests.support.http.accounts import Account
from tests.support.http.orders import act, place, problem
from tests.support.http.queries import get
from tests.support.log.given_log import RawEvent, given_order

POISON = RawEvent("OrderFrobnicated", "{}")


@pytest.fixture
async def order(web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine) -> httpx.Response:
    """The owner's; what has happened to it since cannot be read."""
    placed = await place(web, owner)
    await given_order(web_engine, POISON, stream_id=UUID(placed.json()["id"]), expected=1)
    return placed


async def asked(
    web: httpx.AsyncClient, who: Account, order: httpx.Response
) -> list[httpx.Response]:
    reads = [await act(web, who, order, p, method="GET") for p in ("actions/", "diff/")]
    address = await act(web, who, order, "shipping-address/", method="GET")
    note = await act(web, who, order, "notes/", {"text": "a"})
    preview = await act(web, who, order, "notes/", {"text": "a"}, dry_run="true")
    return [*reads, address, note, preview]


async def test_a_stranger_is_not_told_that_there_is_such_an_order(
    web: httpx.AsyncClient, other: Account, order: httpx.Response
) -> None:
    answers = await asked(web, other, order)

    assert [problem(answer) for answer in answers] == [(404, "order-not-found")] * 5
    assert {answer.json()["detail"] for answer in answers} == {OrderNotFound().detail}


async def test_only_staff_are_told_where_it_cannot_be_read(
    web: httpx.AsyncClient, owner: Account, staff: Account, order: httpx.Response
) -> None:
    by_owner, by_staff = [await asked(web, who, order) for who in (owner, staff)]

    assert [problem(a) for a in (*by_owner, *by_staff)] == [(503, "order-unreadable")] * 10
    assert not any("position" in answer.text for answer in by_owner)
    assert {a.json()["stream_id"] for a in by_staff} == {order.json()["id"]}
    assert all({"partition", "position"} <= a.json().keys() for a in by_staff)


async def test_where_nothing_says_whose_it_is_nobody_but_staff_is_told_more(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine
) -> None:
    path = f"/orders/{await given_order(web_engine, POISON)}"

    by_owner = [
        await get(web, owner, f"{path}/{part}") for part in ("", "actions/", "events/", "stream")
    ]
    by_staff = await get(web, staff, f"{path}/")

    assert [problem(a) for a in (*by_owner, by_staff)] == [(503, "order-unreadable")] * 5
    assert len({answer.json()["detail"] for answer in by_owner}) == 1
    assert not any("stream_id" in answer.json() for answer in by_owner)
    assert by_staff.json()["stream_id"] == path.removeprefix("/orders/")
