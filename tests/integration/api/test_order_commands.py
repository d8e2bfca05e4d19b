"""Placing orders and setting their status over HTTP: answers and refusals."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import ITEMS, change, place, problem, stored_events


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")


async def test_the_answer_to_a_placed_order_is_its_whole_document(
    web: httpx.AsyncClient, owner: Account
) -> None:
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


async def test_the_values_of_items_may_all_be_strings(
    web: httpx.AsyncClient, owner: Account
) -> None:
    item = {"product_id": "1", "quantity": "2", "price": "9.99", "colour": "blue"}

    order = (await place(web, owner, items=[item])).json()

    assert order["total_price"] == "19.98"
    assert order["items"][0]["sku"] == "1"
    assert order["items"][0]["attributes"] == {"colour": "blue"}


async def test_an_order_without_prices_has_the_total_price_as_agreed(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = (await place(web, owner, items=[{"sku": "A", "quantity": 3}], total_price=10.5)).json()

    assert order["total_price"] == "10.50"
    assert order["items"][0]["unit_price"] is None


async def test_an_order_with_a_total_of_zero_is_paid_at_once_if_the_shop_set_its_prices(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    gift = [{"sku": "GIFT", "quantity": 1, "unit_price": 0}]

    by_owner = await place(web, owner, items=gift)
    by_staff = await place(web, staff, items=gift, user_id=owner.user_id)

    assert (by_staff.json()["status"], by_staff.headers["etag"]) == ("PAID", '"2"')
    assert (by_owner.json()["status"], by_owner.headers["etag"]) == ("PENDING", '"1"')


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"total_price": "24.99"}, "total-mismatch"),
        ({"items": []}, "validation"),
        ({"items": ITEMS * 101}, "validation"),
        ({"items": [{"sku": "A", "quantity": 0, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1_000_001, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": True, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1.0, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": " 1", "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": "1_0", "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": -1}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": "1e2"}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": "9.999999999"}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": 1e-300}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "unit_price": 10**16}]}, "validation"),
        ({"items": [{"sku": "A", "quantity": 1, "price": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "", "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": 1, "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "a\x00b", "quantity": 1, "unit_price": 1}]}, "validation"),
        ({"items": [{"sku": "a\nb", "quantity": 1, "unit_price": 1}]}, "validation"),
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
        ({"currency": "ANG"}, "unknown-currency"),
        ({"currency": "BGN"}, "unknown-currency"),
        ({"status": "PAID"}, "validation"),
        ({"user_id": "me"}, "validation"),
    ],
)
async def test_an_invalid_order_is_refused_and_not_stored(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine, body: Any, code: str
) -> None:
    answer = await place(web, owner, **body)

    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{code}"
    assert await stored_events(web_engine) == 0


async def test_the_refusal_of_a_wrong_total_contains_the_right_one(
    web: httpx.AsyncClient, owner: Account
) -> None:
    assert (await place(web, owner, total_price="1")).json()["expected"] == "24.98"


async def test_an_external_reference_can_be_used_once(
    web: httpx.AsyncClient, owner: Account
) -> None:
    first = await place(web, owner, external_reference="cart-1")

    again = await place(web, owner, external_reference="cart-1")

    assert again.status_code == 409
    assert again.json()["type"] == "/problems/duplicate-reference"
    assert again.json()["existing_order"] == first.json()["id"]


async def test_the_status_is_set_step_by_step_from_pending_to_delivered(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)

    answers = [await change(web, staff, order, status=s) for s in ("PAID", "SHIPPED", "DELIVERED")]

    assert [a.json()["status"] for a in answers] == ["PAID", "SHIPPED", "DELIVERED"]
    assert [a.headers["etag"] for a in answers] == ['"3"', '"5"', '"7"']


async def test_setting_the_present_status_changes_nothing(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, staff)
    first = await change(web, staff, order, status="PAID")

    again = await change(web, staff, order, status="PAID")

    assert (again.status_code, again.content) == (200, first.content)
    assert await stored_events(web_engine) == 3


async def test_the_refusal_of_a_transition_lists_the_allowed_ones(
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
async def test_an_invalid_change_is_refused(
    web: httpx.AsyncClient, staff: Account, body: dict[str, Any]
) -> None:
    refused = await change(web, staff, await place(web, staff), **body)

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")
    assert [error["pointer"].count("/") < 2 for error in refused.json()["errors"]] == [True]


async def test_an_owner_may_set_only_what_the_shop_allows(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = await place(web, owner)

    refused = await change(web, owner, order, status="PAID")
    canceled = await change(web, owner, order, status="CANCELED", reason="DUPLICATE", note="Twice")

    assert (refused.status_code, refused.json()["required_role"]) == (403, "staff")
    assert canceled.json()["cancel_reason"] == "DUPLICATE"
    assert "Twice" not in canceled.text


async def test_canceling_a_paid_order_requests_a_refund(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)
    await change(web, staff, order, status="PAID")

    canceled = (await change(web, staff, order, status="CANCELED")).json()

    assert (canceled["cancel_reason"], canceled["refund_pending"]) == ("OTHER", "24.98")


async def test_another_users_order_is_answered_like_a_missing_one(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, owner)
    other = await new_account(web_engine)

    foreign = await change(web, other, order, status="CANCELED")
    absent = await web.patch(
        f"/orders/{uuid4()}/", json={"status": "CANCELED"}, headers=other.headers
    )
    by_number, malformed = [
        await web.patch(f"/orders/{name}/", json={"status": "CANCELED"}, headers=other.headers)
        for name in (order.json()["number"], "7")
    ]
    actions = await web.get(f"/orders/{order.json()['number']}/actions/", headers=other.headers)
    answers = (foreign, absent, by_number, malformed, actions)

    assert {problem(answer) for answer in answers} == {(404, "order-not-found")}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_a_request_without_a_token_is_refused_before_its_body_is_parsed(
    web: httpx.AsyncClient,
) -> None:
    answer = await web.post("/orders/", content=b"{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("currency", "sent", "price"),
    [
        ("USD", '"9.9900"', "9.99"),
        ("USD", "9.990", "9.99"),
        ("JPY", '"1000.0"', "1000"),
        ("KWD", '"1.2340"', "1.234"),
    ],
)
async def test_zeros_at_the_end_of_a_decimal_are_no_digits(
    web: httpx.AsyncClient, owner: Account, currency: str, sent: str, price: str
) -> None:
    item = f'{{"sku": "A", "quantity": 1, "unit_price": {sent}}}'
    body = f'{{"currency": "{currency}", "items": [{item}]}}'
    headers = {**owner.headers, "Content-Type": "application/json"}

    placed = await web.post("/orders/", content=body, headers=headers)

    assert placed.status_code == 201
    assert placed.json()["items"][0]["unit_price"] == price
