"""Search and filters by what the shop notes on an order, and by whom it is for."""

from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from tests.support.http.accounts import Account
from tests.support.http.orders import act, change, place, problem
from tests.support.http.queries import get
from tests.support.read_side.read_side import ReadSide, advance_all

BODIES: dict[str, dict[str, Any]] = {
    "ada": {
        "customer": {"email": "ada@example.com", "phone": "+44 20 7946 0000"},
        "tags": ["Gift", "caf\xe9"],
        "metadata": {"channel": "web", "basket": "A-1"},
    },
    "grace": {
        "customer": {"email": "GRACE@example.com", "phone": "(030) 123-456"},
        "tags": ["express"],
        "metadata": {"channel": "WEB"},
    },
    "nobody": {"metadata": {"channel": "web"}},
}


@pytest.fixture
async def shop(
    web: httpx.AsyncClient, staff: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> dict[str, httpx.Response]:
    placed = {name: await place(web, staff, **body) for name, body in BODIES.items()}
    await advance_all(projector_engine, cache)
    return placed


async def found(
    web: httpx.AsyncClient, who: Account, shop: dict[str, httpx.Response], **query: str
) -> list[str]:
    answer = await web.get("/orders/", params={"sort": "created_at", **query}, headers=who.headers)
    names = {order.json()["id"]: name for name, order in shop.items()}
    return [names[item["id"]] for item in answer.raise_for_status().json()["items"]]


async def test_an_order_is_found_by_the_exact_address_or_number_of_its_contact(
    web: httpx.AsyncClient, staff: Account, shop: dict[str, httpx.Response]
) -> None:
    searched = {
        "ada@example.com": ["ada"],
        " Ada@EXAMPLE.com ": ["ada"],
        "grace@example.com": ["grace"],
        "da@example.com": [],
        "+442079460000": ["ada"],
        "0044 20 7946-0000": ["ada"],
        "442079460000": [],
        "030123456": ["grace"],
        "123456": [],
    }

    assert {q: await found(web, staff, shop, q=q) for q in searched} == searched


async def test_the_newest_contact_finds_the_order_without_a_replay(
    web: httpx.AsyncClient, staff: Account, shop: dict[str, httpx.Response]
) -> None:
    contact = {"email": "new@example.com"}
    await act(web, staff, shop["nobody"], "contact/", contact, method="PUT")

    assert await found(web, staff, shop, q="new@example.com") == ["nobody"]


async def test_tags_and_metadata_filter_lists_and_tags_are_found(
    web: httpx.AsyncClient, staff: Account, shop: dict[str, httpx.Response]
) -> None:
    asked: list[tuple[dict[str, str], list[str]]] = [
        ({"tag": "gift"}, ["ada"]),
        ({"tag": "CAFE\u0301"}, ["ada"]),
        ({"tag": "PEN"}, []),
        ({"q": "express"}, ["grace"]),
        ({"q": "web"}, []),
        ({"metadata.channel": "web"}, ["ada", "nobody"]),
        ({"metadata.channel": "web", "metadata.basket": "A-1"}, ["ada"]),
        ({"metadata.channel": "web", "tag": "express"}, []),
        ({"metadata.key": "web"}, []),
    ]

    assert [await found(web, staff, shop, **query) for query, _ in asked] == [
        names for _, names in asked
    ]


async def test_a_filter_by_metadata_holds_for_all_pages_and_is_given_once(
    web: httpx.AsyncClient, staff: Account, shop: dict[str, httpx.Response]
) -> None:
    first = await get(web, staff, "/orders/?metadata.channel=web&limit=1&sort=created_at")
    cursor = first.json()["next_cursor"]
    second = await get(
        web, staff, f"/orders/?metadata.channel=web&limit=1&sort=created_at&cursor={cursor}"
    )
    other = await get(
        web, staff, f"/orders/?metadata.channel=WEB&limit=1&sort=created_at&cursor={cursor}"
    )
    twice = await get(web, staff, "/orders/?metadata.channel=a&metadata.channel=b")
    unknown = await get(web, staff, "/orders/?meta.channel=a")
    long = await get(web, staff, f"/orders/?metadata.channel={'x' * 501}")

    assert [page.json()["items"][0]["id"] for page in (first, second)] == [
        shop[name].json()["id"] for name in ("ada", "nobody")
    ]
    assert problem(other)[1] == "invalid-cursor"
    assert problem(twice) == problem(unknown) == problem(long) == (422, "validation")


async def test_no_read_model_has_a_contact(
    web: httpx.AsyncClient, staff: Account, shop: dict[str, httpx.Response], read_side: ReadSide
) -> None:
    rows = await read_side.rows("SELECT v.* FROM read_models.order_view v")
    events = await read_side.rows("SELECT data::text FROM events")

    stored = f"{rows} {events}".lower()
    assert "pen" in stored
    assert [text for text in ("ada@", "grace@", "79460000", "123456") if text in stored] == []


async def test_an_order_on_hold_is_flagged_on_the_board(
    web: httpx.AsyncClient,
    staff: Account,
    shop: dict[str, httpx.Response],
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    for name in ("ada", "grace"):
        await act(web, staff, shop[name], "holds/", {"reason": "OTHER"})
    await change(web, staff, shop["grace"], status="CANCELED")
    await advance_all(projector_engine, cache)

    cards = {card["id"]: card for card in (await get(web, staff, "/ops/board/")).json()["cards"]}
    flags = {name: cards[order.json()["id"]]["flags"] for name, order in shop.items()}

    assert flags == {"ada": ["on_hold"], "grace": [], "nobody": []}
    assert await found(web, staff, shop, on_hold="true") == ["ada"]


async def test_a_contact_of_very_many_orders_finds_the_newest(
    web: httpx.AsyncClient,
    staff: Account,
    shop: dict[str, httpx.Response],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("grace", "nobody"):
        await act(web, staff, shop[name], "contact/", {"email": "ada@example.com"}, method="PUT")
    monkeypatch.setattr(limits, "CONTACT_ORDERS_MAX", 2)

    assert await found(web, staff, shop, q="ada@example.com") == ["grace", "nobody"]
