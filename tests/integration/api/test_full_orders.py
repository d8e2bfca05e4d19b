"""Every stated limit of an order can be used to the full, and all of them at once."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.domain.state import LINES_MAX
from order_service.limits import TEXT_LENGTH_MAX
from order_service.web.fields import NOTE_MAX
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import place
from tests.support.read_side.read_side import ReadSide

ADDRESS_LINES = ("name", "company", "line1", "line2", "city", "region", "postal_code", "phone")


def lines(name: str, sku: str = "PEN") -> list[dict[str, Any]]:
    return [
        {"sku": sku, "name": name, "quantity": 1, "unit_price": "9.99"} for _ in range(LINES_MAX)
    ]


def full(letter: str) -> dict[str, Any]:
    text = letter * TEXT_LENGTH_MAX
    taxed = {"tax": "1.59", "tax_rate": "19.5", "tax_name": text, "unit": "m2", "discount": "0.01"}
    return {
        "items": [item | taxed for item in lines(text, text)],
        "external_reference": text,
        "shipping_address": dict.fromkeys(ADDRESS_LINES, text) | {"country": "CN"},
        "billing_address": dict.fromkeys(ADDRESS_LINES, text) | {"country": "CN"},
        "customer": {"email": "a@example.com", "name": text, "phone": text},
        "note": letter * NOTE_MAX,
        "tags": [f"{n:02}{letter * (limits.TAG_LENGTH_MAX - 2)}" for n in range(limits.TAGS_MAX)],
        "metadata": {
            f"{n:02}{letter * (limits.METADATA_KEY_LENGTH_MAX - 2)}": letter
            * limits.METADATA_VALUE_LENGTH_MAX
            for n in range(limits.METADATA_MAX)
        },
    }


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


async def test_names_of_76_chinese_characters_on_200_lines_are_placed(
    web: httpx.AsyncClient, owner: Account
) -> None:
    placed = await place(web, owner, items=lines("漢" * 76))

    assert placed.status_code == 201
    assert placed.json()["items"][199]["name"] == "漢" * 76


@pytest.mark.parametrize("escaped", [False, True], ids=["in UTF-8", "escaped"])
@pytest.mark.parametrize("letter", ["p", '"', "漢", "🖋"])
async def test_an_order_may_use_every_limit_at_once(
    web: httpx.AsyncClient, owner: Account, read_side: ReadSide, letter: str, escaped: bool
) -> None:
    """It is placed, read by both ways, and listed."""
    body = json.dumps(full(letter), ensure_ascii=escaped).encode()
    headers = {**owner.headers, "Content-Type": "application/json"}

    placed = await web.post("/orders/", content=body, headers=headers)
    path = f"/orders/{placed.json()['id']}/"
    read = await web.get(path, headers=owner.headers)
    await read_side.advance()
    listed = await web.get(f"/orders/user/{owner.user_id}/", headers=owner.headers)

    assert placed.status_code == 201
    assert len(read.json()["items"]) == LINES_MAX
    assert {item["name"] for item in read.json()["items"]} == {letter * TEXT_LENGTH_MAX}
    assert read.content == placed.content
    assert [order["id"] for order in listed.json()] == [placed.json()["id"]]


async def test_two_full_orders_are_placed_in_bulk(web: httpx.AsyncClient, owner: Account) -> None:
    orders = [{**full("漢"), "external_reference": f"R-{n}"} for n in range(2)]
    body = json.dumps({"orders": orders}, ensure_ascii=False).encode()
    headers = {**owner.headers, "Content-Type": "application/json"}

    answer = await web.post("/orders/bulk/", content=body, headers=headers)

    assert [result["status"] for result in answer.json()["results"]] == [201, 201]
