"""The board over HTTP: which orders are on it, what they add up to, and how it moves on."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from order_service import limits
from order_service.domain.events import OrderCanceled, PaymentCaptured, RefundFailed
from tests.support.http.accounts import Account
from tests.support.http.queries import get, new_order, set_status
from tests.support.http.sse import Sent, listening
from tests.support.log.examples import NEW_ID, PAID, PLACED
from tests.support.log.lives import (
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PENDING,
    IS_RETURNED,
    IS_SENT_BACK,
    IS_SHIPPED,
    REFUND,
    Events,
)
from tests.support.read_side.read_side import ReadSide, run
from tests.support.values import replace
from tests.support.waiting import WAIT_S

BOARD = "/ops/board/"
ORDERS: dict[str, Events] = {
    "open": IS_PENDING,
    "paid": IS_PAID,
    "shipped": IS_SHIPPED,
    "delivered": IS_DELIVERED,
    "canceled": IS_CANCELED,
    "sent back": IS_SENT_BACK,
    "refund failed": (*IS_RETURNED, RefundFailed(REFUND, 2498, "closed")),
    "overpaid": (PLACED, PaymentCaptured(NEW_ID, 5000, "provider"), PAID),
    "canceled in yen": (
        replace(PLACED, currency="JPY", total_minor=2498),
        OrderCanceled("OTHER", "PENDING"),
    ),
}
DAYS_AGO = "UPDATE read_models.order_view SET updated_at = updated_at - interval '3 days'"


async def board(web: httpx.AsyncClient, staff: Account) -> dict[str, Any]:
    answer = await get(web, staff, BOARD)
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def test_the_board_has_what_is_not_done_and_what_has_just_changed(
    web: httpx.AsyncClient,
    read_side: ReadSide,
    owner: Account,
    staff: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {}
    for name, (first, *others) in ORDERS.items():
        placed = replace(first, user_id=UUID(owner.user_id))
        names[str(await read_side.given(placed, *others))] = name
    await read_side.advance()

    today = await board(web, staff)
    await run(read_side.projector_engine, DAYS_AGO)
    days_later = await board(web, staff)
    monkeypatch.setattr(limits, "BOARD_CARDS_MAX", 3)
    monkeypatch.setattr(limits, "BOARD_BATCH_CARDS", 2)
    cut = await board(web, staff)

    def named(shown: dict[str, Any]) -> list[str]:
        return [names[card["id"]] for card in shown["cards"]]

    assert named(today) == [*reversed(ORDERS)]
    assert not today["more"]
    done = {"delivered", "canceled", "canceled in yen"}
    assert named(days_later) == [name for name in reversed(ORDERS) if name not in done]
    assert (named(cut), cut["more"]) == (["overpaid", "refund failed", "sent back"], True)
    assert cut["columns"] == days_later["columns"]
    assert cut["token"] == today["token"] == "45.0.0.0"
    flags = {names[card["id"]]: card["flags"] for card in today["cards"] if card["flags"]}
    assert flags == {
        "sent back": ["return_open"],
        "refund failed": ["credit_due", "refund_failed"],
        "overpaid": ["credit_due"],
    }
    card = next(card for card in today["cards"] if names[card["id"]] == "paid")
    order = (await get(web, staff, f"/orders/{card['id']}/")).json()
    same = set(card) & set(order)
    assert {name: card[name] for name in same} == {name: order[name] for name in same}
    assert set(card) - same == {"customer", "flags"}
    assert card["customer"] == owner.email
    columns = {column.pop("status"): column for column in today["columns"]}
    assert [*columns] == [
        *("PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED")
    ]
    assert columns["PARTIALLY_SHIPPED"] == {"count": 0, "totals": [], "oldest_at": None}
    assert columns["PAID"] == {
        "count": 2,
        "totals": [{"currency": "USD", "amount": "49.96"}],
        "oldest_at": order["created_at"],
    }
    assert columns["CANCELED"]["totals"] == [
        {"currency": "JPY", "amount": "2498"},
        {"currency": "USD", "amount": "24.98"},
    ]


async def test_the_board_s_stream_tells_what_changed_since_it_was_read(
    web: httpx.AsyncClient, read_side: ReadSide, owner: Account, staff: Account
) -> None:
    """Not before the read model shows it; and gathered, each order once."""
    quiet = await new_order(web, owner)
    await read_side.advance()
    since = (await board(web, staff))["token"]
    orders = [await new_order(web, owner) for _ in range(2)]
    await read_side.advance()

    async with listening(web, f"{BOARD}stream?since={since}", staff.headers) as stream:
        [placed] = await _cards(stream.take, 2)
        await set_status(web, staff, quiet["id"], "PAID")
        unshown = stream.last_id
        await read_side.advance()
        [changed] = await _cards(stream.take, 1)
    async with listening(
        web, f"{BOARD}stream", staff.headers | {"Last-Event-ID": unshown}
    ) as again:
        [resumed] = await _cards(again.take, 1)
    now = await board(web, staff)

    assert {card["id"] for card in placed} == {order["id"] for order in orders}
    assert [(card["id"], card["status"]) for card in changed] == [(quiet["id"], "PAID")]
    assert resumed == changed
    assert now["cards"][0] == changed[0]
    assert stream.last_id == again.last_id == now["token"]


async def _cards(take: Any, count: int) -> list[list[dict[str, Any]]]:
    """Messages until this many cards have come."""
    found: list[list[dict[str, Any]]] = []
    async with asyncio.timeout(WAIT_S):
        while sum(map(len, found)) < count:
            messages: list[Sent] = await take(1)
            assert [sent.event for sent in messages] == ["cards"]
            found.append(messages[0].data["cards"])
    return found
