"""Whatever stands in the log: its order is served as it was before, and no other one is hurt."""

import asyncio
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from tests.support.hostile.events import HOSTILE_EVENTS, LARGE_EVENTS
from tests.support.http.accounts import Account
from tests.support.http.orders import change, place, problem
from tests.support.http.sse import listening
from tests.support.log.given_log import given_order
from tests.support.read_side.read_side import ReadSide


async def test_an_order_with_a_hostile_event_is_served_as_it_was_before(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    web_engine: AsyncEngine,
    read_side: ReadSide,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PARKINGS_PER_MINUTE_MAX", 10_000)
    orders = [await place(web, owner) for _ in HOSTILE_EVENTS]
    for order, event in zip(orders, HOSTILE_EVENTS, strict=True):
        await given_order(web_engine, event, stream_id=UUID(order.json()["id"]), expected=1)
    good = await place(web, owner)
    await read_side.advance()

    for order, event in zip(orders, HOSTILE_EVENTS, strict=True):
        path = order.headers["location"]
        read, events, changed = await asyncio.gather(
            web.get(path, headers=owner.headers),
            web.get(f"{path}events/", headers=owner.headers),
            change(web, staff, order, status="PAID"),
        )
        assert (read.status_code, read.headers.get("order-stale")) == (200, "true"), event
        assert read.json() == order.json(), event
        assert events.status_code == 200, event
        assert problem(changed) == (503, "order-unreadable"), event
    listed = await web.get(f"/orders/user/{owner.user_id}/?limit=200", headers=owner.headers)
    assert [order["version"] for order in listed.json()] == [1] * (len(orders) + 1)
    assert good.json() in listed.json()


async def test_a_number_beyond_64_bits_is_shown_as_it_is(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    for event, number in LARGE_EVENTS:
        path = (order := await place(web, owner)).headers["location"]
        await given_order(web_engine, event, stream_id=UUID(order.json()["id"]), expected=1)

        read = await web.get(path, headers=owner.headers)
        events = await web.get(f"{path}events/", headers=owner.headers)
        async with listening(web, f"{path}stream?since=1", owner.headers) as reader:
            [sent] = await reader.take(1)

        assert read.json()["items"][-1]["quantity"] == number
        assert events.json()["events"][-1]["data"]["line"]["quantity"] == number
        assert sent.data["data"]["line"]["quantity"] == number
