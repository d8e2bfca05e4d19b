"""Staff's list over HTTP: filters, search, sorts, pages in both directions, and for whom (P7)."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.domain.events import (
    OrderCanceled,
    PaymentCaptured,
    RefundFailed,
    RefundRequested,
    ReturnRequested,
)
from order_service.domain.parts import LineQuantity
from tests.support.http.accounts import Account
from tests.support.http.queries import get, new_order, set_status
from tests.support.log.examples import CAPTURED, DISPATCHED, INK, NEW_ID, PAID, PEN, PLACED, SHIPPED
from tests.support.log.given_log import given_order, given_orders
from tests.support.read_side.read_side import advance_all
from tests.support.values import replace

RETURN_ASKED = ReturnRequested(NEW_ID, (LineQuantity(1, 1),), "OTHER")


@dataclass(frozen=True)
class Shop:
    """Five orders, oldest first, by name."""

    ids: dict[str, UUID]
    documents: dict[str, dict[str, Any]]

    def named(self, items: list[dict[str, Any]]) -> list[str]:
        names = {str(order_id): name for name, order_id in self.ids.items()}
        return [names[item["id"]] for item in items]


@pytest.fixture
async def shop(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    owner: Account,
    other: Account,
    staff: Account,
) -> Shop:
    placed = replace(PLACED, user_id=UUID(owner.user_id))
    others = replace(PLACED, user_id=UUID(other.user_id), currency="EUR")
    tracked = replace(DISPATCHED, tracking_number="1Z99")
    orders = {
        "open": (replace(placed, external_reference="Cart-7"),),
        "paid": (placed, CAPTURED, PAID),
        "shipped": (others, CAPTURED, PAID, tracked, SHIPPED, RETURN_ASKED),
        "canceled": (replace(others, lines=(INK,), total_minor=500), OrderCanceled("OTHER", "")),
        "overpaid": (
            replace(placed, lines=(replace(PEN, sku="Quill"), INK)),
            PaymentCaptured(NEW_ID, 5000, "provider"),
            PAID,
            RefundRequested(NEW_ID, 500, "manual", "OTHER"),
            RefundFailed(NEW_ID, 500, "closed"),
        ),
    }
    ids = {name: await given_order(web_engine, *events) for name, events in orders.items()}
    await advance_all(projector_engine, cache)
    documents = {
        name: (await get(web, staff, f"/orders/{order_id}/")).json()
        for name, order_id in ids.items()
    }
    return Shop(ids, documents)


async def found(web: httpx.AsyncClient, who: Account, shop: Shop, query: str) -> list[str]:
    answer = await get(web, who, f"/orders/?sort=created_at&{query}")
    assert answer.status_code == 200, answer.text
    return shop.named(answer.json()["items"])


async def test_staff_see_a_summary_of_every_order(
    web: httpx.AsyncClient, staff: Account, owner: Account, shop: Shop
) -> None:
    answer = await get(web, staff, "/orders/")

    listed = answer.json()
    document = shop.documents["overpaid"]
    same = set(document) & set(listed["items"][0])
    assert shop.named(listed["items"]) == ["overpaid", "canceled", "shipped", "paid", "open"]
    assert {name: listed["items"][0][name] for name in same} == {n: document[n] for n in same}
    assert set(listed["items"][0]) - same == {"lines", "units"}
    assert (listed["items"][0]["lines"], listed["items"][0]["units"]) == (2, 3)
    assert (listed["items"][0]["amount_due"], listed["items"][0]["credit_due"]) == ("0.00", "25.02")
    assert (listed["next_cursor"], listed["prev_cursor"], listed["has_more"]) == (None, None, False)
    assert "total" not in listed
    forbidden = await get(web, owner, "/orders/")
    assert (forbidden.status_code, forbidden.json()["required_role"]) == (403, "staff")
    assert (await web.get("/orders/")).status_code == 401


async def test_every_filter_narrows_the_list(
    web: httpx.AsyncClient, staff: Account, owner: Account, other: Account, shop: Shop
) -> None:
    all_of_them = ["open", "paid", "shipped", "canceled", "overpaid"]
    at = {name: document["created_at"] for name, document in shop.documents.items()}
    number = shop.documents["paid"]["number"]
    expected = {
        "": all_of_them,
        "status=PENDING": ["open"],
        "status=SHIPPED,CANCELED": ["shipped", "canceled"],
        "payment_status=OVERPAID": ["overpaid"],
        "fulfillment_status=SHIPPED": ["shipped"],
        f"user_id={other.user_id}": ["shipped", "canceled"],
        f"created_from={at['paid']}&created_to={at['canceled']}": ["paid", "shipped"],
        f"updated_from={shop.documents['overpaid']['updated_at']}": ["overpaid"],
        f"updated_to={shop.documents['open']['updated_at']}": [],
        "currency=EUR": ["shipped", "canceled"],
        "currency=EUR&total_min=5": ["shipped", "canceled"],
        "currency=EUR&total_min=5.01&total_max=24.98": ["shipped"],
        "currency=EUR&total_max=24.97": ["canceled"],
        "has_credit_due=true": ["overpaid"],
        "has_credit_due=false&currency=USD": ["open", "paid"],
        "return_open=true": ["shipped"],
        "prices_trusted=true&currency=EUR": ["shipped", "canceled"],
        "prices_trusted=false": [],
        "return_open=false&currency=EUR": ["canceled"],
        "refund_failed=true": ["overpaid"],
        "refund_failed=false&currency=USD": ["open", "paid"],
        f"q={number}": ["paid"],
        f"q={number[:-1].lower()}": ["paid"],
        "q=a-": [],
        "q=quill": ["overpaid"],
        "q=qui": [],
        "q=1z99": ["shipped"],
        "q=cart-7": ["open"],
        f"q={owner.email.upper()}": ["open", "paid", "overpaid"],
        "q=nobody@example.com": [],
        f"q=INK&user_id={owner.user_id}&status=PAID": ["paid", "overpaid"],
    }

    answers = {query: await found(web, staff, shop, query) for query in expected}

    assert answers == expected


async def test_a_list_is_sorted_by_what_is_asked_for(
    web: httpx.AsyncClient, staff: Account, shop: Shop
) -> None:
    expected = {
        "sort=updated_at": ["open", "paid", "shipped", "canceled", "overpaid"],
        "sort=-updated_at": ["overpaid", "canceled", "shipped", "paid", "open"],
        "sort=total_price&currency=EUR": ["canceled", "shipped"],
        "sort=-total_price&currency=EUR": ["shipped", "canceled"],
    }

    answers = {query: (await get(web, staff, f"/orders/?{query}")).json() for query in expected}

    assert {query: shop.named(answer["items"]) for query, answer in answers.items()} == expected


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "total_price", "-updated_at"])
async def test_pages_lead_forth_and_back_through_orders_of_one_time_and_price(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    staff: Account,
    sort: str,
) -> None:
    await given_orders(web_engine, *[(PLACED,)] * 7)
    await advance_all(projector_engine, cache)
    path = f"/orders/?sort={sort}&currency=USD"

    whole = (await get(web, staff, path)).json()["items"]
    first = (await get(web, staff, f"{path}&limit=3")).json()
    second = (await get(web, staff, f"{path}&limit=3&cursor={first['next_cursor']}")).json()
    third = (await get(web, staff, f"{path}&limit=3&cursor={second['next_cursor']}")).json()
    back = (await get(web, staff, f"{path}&limit=3&cursor={third['prev_cursor']}")).json()
    at_start = (await get(web, staff, f"{path}&limit=3&cursor={back['prev_cursor']}")).json()

    assert len(whole) == 7
    assert first["items"] + second["items"] + third["items"] == whole
    assert back == second
    assert at_start == first
    assert (third["next_cursor"], third["has_more"]) == (None, False)
    assert (first["prev_cursor"], first["has_more"]) == (None, True)


async def test_the_way_back_ends_at_the_beginning_though_what_stood_there_has_moved(
    web: httpx.AsyncClient,
    staff: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    moving, second, third = [await given_order(web_engine, PLACED) for _ in range(3)]
    await advance_all(projector_engine, cache)
    path = "/orders/?sort=updated_at&status=PENDING&limit=1"
    first = (await get(web, staff, path)).json()
    following = (await get(web, staff, f"{path}&cursor={first['next_cursor']}")).json()
    await given_order(web_engine, CAPTURED, PAID, expected=1, stream_id=moving)
    await advance_all(projector_engine, cache)

    back = (await get(web, staff, f"{path}&cursor={following['prev_cursor']}")).json()
    on = (await get(web, staff, f"{path}&cursor={back['next_cursor']}")).json()

    assert [item["id"] for item in back["items"] + on["items"]] == [str(second), str(third)]
    assert (back["prev_cursor"], back["has_more"]) == (None, True)


async def test_a_total_is_counted_when_asked_for_and_up_to_a_limit(
    web: httpx.AsyncClient,
    staff: Account,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = (await get(web, staff, "/orders/?include=total&limit=1&currency=USD")).json()
    monkeypatch.setattr(limits, "LIST_TOTAL_MAX", 2)
    capped = (await get(web, staff, "/orders/?include=total&currency=USD")).json()

    assert exact["total"] == {"count": 3, "relation": "eq"}
    assert capped["total"] == {"count": 2, "relation": "gte"}


async def test_a_cursor_is_of_use_with_its_own_filters_and_sort_only(
    web: httpx.AsyncClient, staff: Account, shop: Shop
) -> None:
    cursor = (await get(web, staff, "/orders/?limit=1&status=PAID,PENDING")).json()["next_cursor"]
    same = await get(web, staff, f"/orders/?status=PENDING,PAID&limit=9&cursor={cursor}")

    refused = [
        await get(web, staff, f"/orders/?cursor={cursor}{others}")
        for others in ("", "&status=PAID", "&status=PAID,PENDING&sort=updated_at")
    ]
    refused.append(await get(web, staff, "/orders/?cursor="))

    assert shop.named(same.json()["items"]) == ["paid", "open"]
    assert {answer.status_code for answer in refused} == {400}
    assert {answer.json()["type"] for answer in refused} == {"/problems/invalid-cursor"}


async def test_a_list_refuses_what_it_cannot_answer_and_names_it(
    web: httpx.AsyncClient, staff: Account
) -> None:
    wrong = {
        "statsu=PAID": "statsu",
        "status=PAID&status=PENDING": "status",
        "status=LOST": "status",
        "payment_status=": "payment_status",
        "fulfillment_status=PAID": "fulfillment_status",
        "created_from=2026-03-01": "created_from",
        "created_to=2026-03-01T12:00:00": "created_to",
        "updated_from=2026-02-30T12:00:00Z": "updated_from",
        "updated_to=0000-01-01T00:00:00Z": "updated_to",
        "total_min=5": "total_min",
        "currency=JPY&total_max=0.5": "total_max",
        "currency=USD&total_min=-1": "total_min",
        "currency=XXX": "currency",
        "currency=usd": "currency",
        "has_credit_due=yes": "has_credit_due",
        "user_id=me": "user_id",
        "q=": "q",
        "q=%00": "q",
        "q=%20": "q",
        f"q={'x' * 256}": "q",
        "sort=total_price": "sort",
        "sort=status": "sort",
        "limit=0": "limit",
        "limit=201": "limit",
        "limit=1.0": "limit",
        "include=all": "include",
        f"cursor={'A' * 200}": "cursor",
    }

    answers = {query: await get(web, staff, f"/orders/?{query}") for query in wrong}

    assert {q: a.status_code for q, a in answers.items()} == dict.fromkeys(wrong, 422)
    named = {q: answer.json()["errors"][0]["parameter"] for q, answer in answers.items()}
    assert named == wrong


async def test_a_time_may_lie_beyond_those_of_utc(web: httpx.AsyncClient, staff: Account) -> None:
    ever = "created_from=0001-01-01T00:00:00%2B23:59&created_to=9999-12-31T23:00:00-02:00"

    assert (await get(web, staff, f"/orders/?{ever}")).status_code == 200


async def test_a_user_s_list_takes_the_same_filters_and_sorts(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    shop: Shop,
) -> None:
    path = f"/orders/user/{owner.user_id}/"
    expected = {
        "": ["overpaid", "paid", "open"],
        "sort=created_at&limit=1": ["open"],
        "status=PAID&q=pen": ["paid"],
        "has_credit_due=true": ["overpaid"],
        f"q={owner.email}": ["overpaid", "paid", "open"],
        "q=1z99": [],
    }

    answers = {query: await get(web, owner, f"{path}?{query}") for query in expected}
    unknown = await get(web, owner, f"{path}?user_id={owner.user_id}")

    assert {q: shop.named(answer.json()) for q, answer in answers.items()} == expected
    assert answers[""].json()[1] == shop.documents["paid"]
    following = answers["sort=created_at&limit=1"].links["next"]["url"]
    assert shop.named((await get(web, owner, following)).json()) == ["paid"]
    assert unknown.json()["errors"][0]["parameter"] == "user_id"


async def test_a_list_shows_an_order_as_it_has_become(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    """Row by row in place, through the live loop."""
    placed = await new_order(web, owner)
    await advance_all(projector_engine, cache)
    await set_status(web, staff, placed["id"], "PAID")
    shipped = await web.patch(
        f"/orders/{placed['id']}/",
        json={"status": "SHIPPED", "tracking_number": "ZZ-1"},
        headers=staff.headers,
    )
    await advance_all(projector_engine, cache)

    [item] = (await get(web, staff, "/orders/?q=zz-1")).json()["items"]

    assert {name: shipped.json().get(name) for name in item if name not in ("lines", "units")} == {
        name: value for name, value in item.items() if name not in ("lines", "units")
    }
