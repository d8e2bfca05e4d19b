"""The shop edits orders after their payment, up and down."""

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.http.accounts import Account
from tests.support.http.orders import act, change, place, problem, stored_events

GOODS = [
    {"sku": "A", "quantity": 2, "unit_price": "10.00"},
    {"sku": "B", "quantity": 1, "unit_price": "5.00"},
]


async def paid(web: httpx.AsyncClient, owner: Account, staff: Account) -> httpx.Response:
    order = await place(web, owner, items=GOODS, shipping_fee="4.00")
    assert (await change(web, staff, order, status="PAID")).json()["status"] == "PAID"
    return order


async def test_a_lower_total_is_refunded(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await paid(web, owner, staff)
    lower = {"change": [{"line_id": 1, "unit_price": "8.00"}], "remove": [2], "shipping_fee": "2"}

    edited = await act(web, staff, order, "edit/", lower)

    found = edited.json()
    assert (found["total_price"], found["amount_due"], found["credit_due"]) == (
        *("18.00", "0.00"),
        "0.00",
    )
    assert [(r["amount"], r["cause"]) for r in found["refunds"]] == [("11.00", "edit")]
    assert (found["status"], found["prices_trusted"]) == ("PAID", True)


async def test_a_lower_total_may_stay_a_credit(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await paid(web, owner, staff)

    edited = await act(web, staff, order, "edit/", {"discount": "6.25", "keep_credit": True})

    found = edited.json()
    assert [item["share"] for item in found["items"]] == ["5.00", "1.25"]
    assert (found["refunds"], found["credit_due"]) == ([], "6.25")


async def test_a_higher_total_is_due_and_holds_the_shipping(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await paid(web, owner, staff)
    more = {"add": [{"sku": "C", "quantity": 1, "unit_price": "7.00", "discount": "1.00"}]}

    edited = await act(web, staff, order, "edit/", more)
    refused = await act(web, staff, order, "shipments/", {})
    await act(web, staff, order, "payments/", {"kind": "capture"})
    shipped = await act(web, staff, order, "shipments/", {})

    assert (edited.json()["total_price"], edited.json()["amount_due"]) == ("35.00", "6.00")
    assert problem(refused) == (409, "payment-required")
    assert shipped.json()["status"] == "SHIPPED"


async def test_what_has_shipped_stays(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await paid(web, owner, staff)
    await act(*(web, staff, order, "shipments/"), {"lines": [{"line_id": 1, "quantity": 1}]})

    refused = [
        await act(web, staff, order, "edit/", body)
        for body in (
            {"remove": [1]},
            {"change": [{"line_id": 1, "unit_price": "1.00"}]},
            {"change": [{"line_id": 1, "discount": "1.00"}]},
            {"change": [{"line_id": 1, "quantity": 0}]},
        )
    ]
    fewer = await act(
        *(web, staff, order, "edit/"),
        {"change": [{"line_id": 1, "quantity": 1}], "remove": [2]},
    )

    assert [problem(answer) for answer in refused] == [(409, "order-not-editable")] * 3 + [
        (422, "validation")
    ]
    assert (fewer.json()["status"], fewer.json()["total_price"]) == ("SHIPPED", "14.00")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"remove": [7]}, 404, "line-not-found"),
        ({"change": [{"line_id": 7, "quantity": 1}]}, 404, "line-not-found"),
        ({"remove": [1, 2]}, 409, "last-line"),
        ({"remove": [1], "change": [{"line_id": 1, "quantity": 1}]}, 422, "validation"),
        ({"add": [{"sku": "C", "quantity": 1}]}, 422, "validation"),
        ({"change": [{"line_id": 1, "discount": "20.01"}]}, 422, "discount-exceeds-goods"),
        ({"discount": "25.01"}, 422, "discount-exceeds-goods"),
        ({"shipping_fee": "0.001"}, 422, "validation"),
        ({"change": [{"line_id": 1, "price": "1"}]}, 422, "validation"),
    ],
)
async def test_an_edit_is_made_whole_or_not_at_all(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    web_engine: AsyncEngine,
    body: dict[str, object],
    status: int,
    code: str,
) -> None:
    order = await paid(web, owner, staff)
    before = await stored_events(web_engine)

    refused = await act(web, staff, order, "edit/", body)

    assert problem(refused) == (status, code)
    assert await stored_events(web_engine) == before


async def test_a_dry_run_shows_the_edit_and_stores_nothing(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await paid(web, owner, staff)
    before = await stored_events(web_engine)

    shown = await act(web, staff, order, "edit/", {"remove": [2]}, dry_run="true")
    nothing = await act(web, staff, order, "edit/", {"change": [{"line_id": 1, "quantity": 2}]})

    assert [event["type"] for event in shown.json()["events"]] == ["OrderEdited", "RefundRequested"]
    assert shown.json()["order"]["total_price"] == "24.00"
    assert nothing.json()["prices_trusted"] is True  # the first edit by the shop confirms them
    assert await stored_events(web_engine) == before + 1
