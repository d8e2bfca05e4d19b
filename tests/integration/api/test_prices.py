"""Prices over HTTP: discounts, taxes, fine prices, the items of the older service, and whose prices
an order takes."""

from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import act, place, problem

# 35 x 20.80 without, 25 x 7.70 with a discount of 15 %: order 10264 of Northwind.
NORTHWIND = [
    {"sku": "2", "quantity": 35, "unit_price": "20.80"},
    {"sku": "41", "quantity": 25, "unit_price": "7.70", "discount": "28.88"},
]


async def test_an_order_shows_what_each_line_is_worth(
    web: httpx.AsyncClient, owner: Account
) -> None:
    placed = await place(
        web,
        owner,
        items=[
            {"sku": "A", "quantity": 2, "unit_price": "10.00", "discount": "1.00", "tax": 1.9},
            {
                "name": "Ham",
                "quantity": 500,
                "unit": "g",
                "unit_price": "0.0129",
                "tax_rate": "7.0",
            },
        ],
        discount="5.10",
        shipping_fee="4.50",
        shipping_tax="0.72",
        tax_included=False,
    )

    order = placed.json()
    shown = ("unit", "unit_price", "discount", "share", "tax", "tax_rate", "value")
    assert [{name: item[name] for name in shown} for item in order["items"]] == [
        {
            "unit": None,
            "unit_price": "10.00",
            "discount": "1.00",
            "share": "3.81",  # of 25.45: 19.00
            "tax": "1.90",
            "tax_rate": None,
            "value": "17.09",
        },
        {
            "unit": "g",
            "unit_price": "0.0129",
            "discount": "0.00",
            "share": "1.29",
            "tax": "0.00",
            "tax_rate": "7.0",
            "value": "5.16",
        },
    ]
    assert (order["shipping_tax"], order["tax_included"], order["prices_trusted"]) == (
        *("0.72", False),
        False,
    )
    assert order["total_price"] == "27.47"


async def test_each_line_gives_back_what_it_was_bought_for(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, items=NORTHWIND)
    await act(web, staff, order, "payments/", {"kind": "capture"})

    canceled = [
        await act(
            *(web, staff, order, f"lines/{line}/cancel/"),
            {"quantity": quantity, "reason": "OUT_OF_STOCK"},
        )
        for line, quantity in ((1, 1), (2, 10))
    ]

    assert [answer.json()["refunds"][-1]["amount"] for answer in canceled] == ["20.80", "65.45"]


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (
            {"items": [{"name": "Book", "quantity": "1"}], "total_price": 12.5},
            [("Book", 1, {})],
        ),
        (
            {"items": [{"title": "x", "qty": "2"}], "total_price": 5},
            [(None, 1, {"title": "x", "qty": "2"})],
        ),
        ({"items": [{}], "total_price": "5.00"}, [(None, 1, {})]),
        (
            {"items": [{"color": "red"}, {"name": "Cap", "size": "L"}], "total_price": 0},
            [(None, 1, {"color": "red"}), ("Cap", 1, {"size": "L"})],
        ),
        (
            {"items": [{"name": "Book", "unit_price": "3", "attributes": {"isbn": "9"}, "x": "y"}]},
            [("Book", 1, {"isbn": "9", "x": "y"})],
        ),
    ],
)
async def test_items_of_the_older_service_are_taken(
    web: httpx.AsyncClient, owner: Account, body: dict[str, Any], items: list[Any]
) -> None:
    placed = await place(web, owner, **body)

    assert placed.status_code == 201
    found = placed.json()["items"]
    assert [(item["name"], item["quantity"], item["attributes"]) for item in found] == items
    assert [item["sku"] for item in found] == [None] * len(items)


@pytest.mark.parametrize(
    "item",
    [
        {"unit_price": "1"},
        {"colour": "red", "unit_price": "1"},
        {"name": "Book"},
        {"sku": "A", "unit_price": "1", "attributes": "x"},
        {"sku": "A", "unit_price": "1", "attributes": {"a": 1}},
        {"sku": "A", "unit_price": "1", "attributes": {"a": "1"}, "a": "1"},
        {"sku": "A", "unit_price": "1", "attributes": {f"k{n}": "" for n in range(21)}},
        {"sku": "A", "unit_price": "1", "attributes": {f"k{n}": "" for n in range(20)}, "x": ""},
        {"sku": "A", "unit_price": "1", "unit": "x" * 17},
        {"sku": "A", "unit_price": "1", "tax": "-1"},
        {"sku": "A", "unit_price": "1", "tax": "0.001"},
        {"sku": "A", "unit_price": "1", "discount": "0.001"},
        {"sku": "A", "unit_price": "1", "tax_rate": "a lot"},
        {"sku": "A", "unit_price": "1", "tax_rate": "1000"},
    ],
)
async def test_an_item_that_cannot_be_priced_is_refused(
    web: httpx.AsyncClient, owner: Account, item: dict[str, Any]
) -> None:
    refused = await place(web, owner, items=[item])

    assert problem(refused) == (422, "validation")


# --- whose prices ---------------------------------------------------------------------------------

PRICED = [
    {"items": [{"sku": "A", "unit_price": "0.00"}]},
    {"items": [{"sku": "A"}], "total_price": "5.00"},
    {"items": [{"sku": "A", "discount": "1"}], "total_price": "5.00"},
]


@pytest.mark.parametrize("body", PRICED)
async def test_a_shop_may_refuse_the_prices_of_customers(
    settings: Settings, web_engine: AsyncEngine, body: dict[str, Any]
) -> None:
    async with serving_with(settings, CUSTOMER_PRICES="refuse") as web:
        owner, staff = [await new_account(web_engine, r) for r in ("customer", "staff")]
        refused = await place(web, owner, **body)
        by_staff = await place(web, staff, user_id=owner.user_id, items=NORTHWIND)
        more, less = [
            await act(
                *(web, owner, by_staff, "lines/2/"),
                {"quantity": quantity},
                method="PATCH",
            )
            for quantity in (26, 10)
        ]

    assert problem(refused) == (403, "prices-not-trusted")
    assert by_staff.json()["prices_trusted"] is True
    assert problem(more) == (403, "prices-not-trusted")
    assert less.json()["total_price"] == "793.45"


async def test_an_owner_adds_no_line_to_an_order_that_staff_placed(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, staff, user_id=owner.user_id)
    phones = {"sku": "IPHONE-17", "quantity": 5, "unit_price": "0.00"}

    refused = await act(web, owner, order, "lines/", phones)
    actions = await web.get(f"{order.headers['location']}actions/", headers=owner.headers)

    assert problem(refused) == (403, "prices-not-trusted")
    [add] = [action for action in actions.json()["actions"] if action["name"] == "lines_add"]
    assert add["reason"]["type"] == "/problems/prices-not-trusted"
