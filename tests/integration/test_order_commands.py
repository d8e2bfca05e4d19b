"""Order commands over HTTP: what is accepted, what is refused and how, repeats, preconditions."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.accounts import Account, new_account

ITEMS = [
    {"sku": "PEN", "name": "Pen", "quantity": 2, "unit_price": "9.99"},
    {"sku": "INK", "quantity": 1, "unit_price": 5},
]


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine, role="staff")


async def stored_events(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM events"))).scalar_one())


async def place(web: httpx.AsyncClient, who: Account, **body: Any) -> httpx.Response:
    return await web.post("/orders/", json={"items": ITEMS, **body}, headers=who.headers)


async def change(
    web: httpx.AsyncClient, who: Account, order: httpx.Response, headers: Any = None, **body: Any
) -> httpx.Response:
    return await web.patch(
        f"/orders/{order.json()['id']}/", json=body, headers={**who.headers, **(headers or {})}
    )


async def test_a_placed_order_is_answered_whole(web: httpx.AsyncClient, owner: Account) -> None:
    answer = await place(web, owner, total_price="24.98")

    order = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/orders/{order['id']}/"
    assert answer.headers["etag"] == '"1"'
    assert order["user_id"] == owner.user_id
    assert order["status"] == "PENDING"
    assert order["total_price"] == "24.98"
    assert order["currency"] == "USD"
    assert order["version"] == 1
    assert order["allowed_transitions"] == ["PAID", "CANCELED"]
    assert [item["unit_price"] for item in order["items"]] == ["9.99", "5.00"]
    assert order["created_at"] == order["updated_at"]


async def test_items_may_be_maps_of_strings(web: httpx.AsyncClient, owner: Account) -> None:
    item = {"product_id": "1", "quantity": "2", "price": "9.99", "colour": "blue"}

    order = (await place(web, owner, items=[item])).json()

    assert order["total_price"] == "19.98"
    assert order["items"][0]["sku"] == "1"
    assert order["items"][0]["attributes"] == {"colour": "blue"}


async def test_items_without_prices_take_the_agreed_total(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = (await place(web, owner, items=[{"sku": "A", "quantity": 3}], total_price=10.5)).json()

    assert order["total_price"] == "10.50"
    assert order["items"][0]["unit_price"] is None


async def test_an_order_of_nothing_to_pay_is_paid_at_once(
    web: httpx.AsyncClient, owner: Account
) -> None:
    answer = await place(web, owner, items=[{"sku": "GIFT", "quantity": 1, "unit_price": 0}])

    assert (answer.json()["status"], answer.headers["etag"]) == ("PAID", '"2"')


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"total_price": "24.99"}, "total-mismatch"),
        ({"items": []}, "validation"),
        ({"items": ITEMS * 101}, "validation"),
        ({"items": [{"sku": "A", "quantity": 0, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 100_001, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": True, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1.0, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": " 1", "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": "1_0", "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": -1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": "1e2"}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": "9.999"}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": 1e-300}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": 10**16}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "price": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "", "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": 1, "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "a\x00b", "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": 1, "note": 7}]}, "validation"),
        (
            {"items": [{"sku": "A", "quantity": 1, "unit_price": 1, "note": "x" * 256}]},
            "validation",
        ),
        (
            {"items": [{"sku": "A", "quantity": 1, "price": 1} | {f"k{n}": "" for n in range(21)}]},
            "validation",
        ),
        ({"items": [{"sku": "A", "quantity": 1}]}, "validation"),
        ({"items": [*ITEMS, {"sku": "A", "quantity": 1}]}, "validation"),
        ({"items": ["PEN"]}, "validation"),
        ({"items": {"sku": "A"}}, "validation"),
        ({"currency": "XXX"}, "unknown-currency"),
        ({"currency": "usd"}, "unknown-currency"),
        ({"status": "PAID"}, "validation"),
        ({"user_id": str(uuid4())}, "validation"),
    ],
)
async def test_a_wrong_order_is_refused_and_nothing_stored(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine, body: Any, code: str
) -> None:
    answer = await place(web, owner, **body)

    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{code}"
    assert await stored_events(web_engine) == 0


async def test_a_total_that_differs_says_the_right_one(
    web: httpx.AsyncClient, owner: Account
) -> None:
    assert (await place(web, owner, total_price="1")).json()["expected"] == "24.98"


async def test_an_external_reference_is_taken_once(web: httpx.AsyncClient, owner: Account) -> None:
    first = await place(web, owner, external_reference="cart-1")

    again = await place(web, owner, external_reference="cart-1")

    assert again.status_code == 409
    assert again.json()["type"] == "/problems/duplicate-reference"
    assert again.json()["existing_order"] == first.json()["id"]


async def test_an_order_goes_from_pending_to_delivered(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)

    answers = [await change(web, staff, order, status=s) for s in ("PAID", "SHIPPED", "DELIVERED")]

    assert [a.json()["status"] for a in answers] == ["PAID", "SHIPPED", "DELIVERED"]
    assert [a.headers["etag"] for a in answers] == ['"3"', '"5"', '"7"']


async def test_a_status_that_is_reached_already_changes_nothing(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, staff)
    first = await change(web, staff, order, status="PAID")

    again = await change(web, staff, order, status="PAID")

    assert (again.status_code, again.content) == (200, first.content)
    assert await stored_events(web_engine) == 3


async def test_an_illegal_transition_says_what_is_allowed(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)

    refused = await change(web, staff, order, status="DELIVERED")

    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/invalid-transition"
    assert refused.json()["from_status"] == "PENDING"
    assert refused.json()["allowed_transitions"] == ["PAID", "CANCELED"]


@pytest.mark.parametrize("status", ["PARTIALLY_SHIPPED", "RETURNED"])
async def test_a_derived_status_cannot_be_set(
    web: httpx.AsyncClient, staff: Account, status: str
) -> None:
    refused = await change(web, staff, await place(web, staff), status=status)

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/status-not-settable")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "LOST"},
        {"status": "PAID", "total_price": "0"},
        {},
        {"status": "PAID", "expected_version": "1"},
        {"status": "CANCELED", "reason": "BORED"},
        {"status": "CANCELED", "note": " "},
    ],
)
async def test_a_wrong_change_is_refused(
    web: httpx.AsyncClient, staff: Account, body: dict[str, Any]
) -> None:
    refused = await change(web, staff, await place(web, staff), **body)

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")


async def test_an_owner_may_set_only_what_the_shop_allows(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = await place(web, owner)

    refused = await change(web, owner, order, status="PAID")
    canceled = await change(web, owner, order, status="CANCELED", reason="DUPLICATE", note="Twice")

    assert (refused.status_code, refused.json()["required_role"]) == (403, "staff")
    assert canceled.json()["cancel_reason"] == "DUPLICATE"
    assert "Twice" not in canceled.text


async def test_a_paid_order_that_is_canceled_asks_for_its_refund(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)
    await change(web, staff, order, status="PAID")

    canceled = (await change(web, staff, order, status="CANCELED")).json()

    assert (canceled["cancel_reason"], canceled["refund_pending"]) == ("OTHER", "24.98")


async def test_anothers_order_is_answered_like_none(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, owner)
    other = await new_account(web, web_engine)

    foreign = await change(web, other, order, status="CANCELED")
    absent = await web.patch(
        f"/orders/{uuid4()}/", json={"status": "CANCELED"}, headers=other.headers
    )
    malformed = await web.patch("/orders/7/", json={"status": "CANCELED"}, headers=other.headers)

    assert [r.status_code for r in (foreign, absent, malformed)] == [404, 404, 404]
    assert {r.json()["type"] for r in (foreign, absent, malformed)} == {"/problems/order-not-found"}


async def test_if_match_of_another_version_is_refused_with_the_present_one(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, staff)
    await change(web, staff, order, status="PAID")

    stale = await change(web, staff, order, {"If-Match": '"1"'}, status="SHIPPED")
    weak = await change(web, staff, order, {"If-Match": 'W/"3"'}, status="SHIPPED")
    malformed = await change(web, staff, order, {"If-Match": "3"}, status="SHIPPED")
    fresh = await change(web, staff, order, {"If-Match": '"3"'}, status="SHIPPED")

    assert (stale.status_code, stale.json()["current_etag"]) == (412, '"3"')
    assert (weak.status_code, malformed.status_code, fresh.status_code) == (412, 400, 200)


async def test_an_expected_version_in_the_body_is_a_precondition_too(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)

    stale = await change(web, staff, order, status="PAID", expected_version=2)

    assert (stale.status_code, stale.json()["current_version"]) == (409, 1)
    assert stale.json()["type"] == "/problems/concurrent-update"


async def test_a_creation_repeated_under_its_key_is_answered_the_same(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    headers = {**owner.headers, "Idempotency-Key": '"cart-1"'}
    first = await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    again = await web.post("/orders/", json={"items": ITEMS}, headers=headers)
    bare = await web.post(
        "/orders/", json={"items": ITEMS}, headers={**headers, "Idempotency-Key": "cart-1"}
    )

    for answer in (again, bare):
        assert (answer.status_code, answer.content) == (201, first.content)
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert await stored_events(web_engine) == 1


async def test_a_change_repeated_under_its_key_is_answered_as_it_was_then(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    """Even with the If-Match of then: the repeat of a lost answer still carries the old tag."""
    order = await place(web, staff)
    key = {"Idempotency-Key": "pay", "If-Match": '"1"'}
    first = await change(web, staff, order, key, status="PAID")
    await change(web, staff, order, status="SHIPPED")

    again = await change(web, staff, order, key, status="PAID")

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["etag"] == '"3"'
    assert await stored_events(web_engine) == 5


async def test_another_request_under_a_used_key_is_refused(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}
    await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    other = await web.post("/orders/", json={"items": ITEMS[:1]}, headers=headers)

    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert await stored_events(web_engine) == 1


async def test_a_refused_request_leaves_its_key_free(
    web: httpx.AsyncClient, owner: Account
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}
    wrong = await web.post("/orders/", json={"items": ITEMS, "total_price": "1"}, headers=headers)

    right = await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    assert (wrong.status_code, right.status_code) == (422, 201)


async def test_one_key_of_two_users_makes_two_orders(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    other = await new_account(web, web_engine)

    answers = [
        await web.post(
            "/orders/", json={"items": ITEMS}, headers={**who.headers, "Idempotency-Key": "k"}
        )
        for who in (owner, other)
    ]

    assert answers[0].json()["id"] != answers[1].json()["id"]


@pytest.mark.parametrize("key", ["", '""', "a b", "é".encode(), "x" * 256])
async def test_a_malformed_key_is_refused(
    web: httpx.AsyncClient, owner: Account, key: str | bytes
) -> None:
    headers = httpx.Headers([*owner.headers.items(), ("Idempotency-Key", key)])

    answer = await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    assert answer.json()["type"] == "/problems/idempotency-key-invalid"
    assert answer.status_code == 400


async def test_fifty_repeats_at_once_make_one_order(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}

    answers = await asyncio.gather(
        *(web.post("/orders/", json={"items": ITEMS}, headers=headers) for _ in range(50))
    )

    assert {(a.status_code, a.content) for a in answers} == {(201, answers[0].content)}
    assert await stored_events(web_engine) == 1


async def test_fifty_payments_at_once_pay_once(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, staff)

    answers = await asyncio.gather(*(change(web, staff, order, status="PAID") for _ in range(50)))

    assert {(a.status_code, a.content) for a in answers} == {(200, answers[0].content)}
    assert await stored_events(web_engine) == 3


async def test_of_two_changes_at_one_version_one_is_stale(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)
    seen = {"If-Match": '"1"'}

    answers = await asyncio.gather(
        change(web, staff, order, seen, status="PAID"),
        change(web, staff, order, seen, status="CANCELED"),
    )

    assert sorted(a.status_code for a in answers) == [200, 412]


async def test_without_a_token_nothing_is_parsed(web: httpx.AsyncClient) -> None:
    answer = await web.post("/orders/", content=b"{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 401
