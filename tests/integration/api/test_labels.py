"""Metadata, tags, the note and the billing address of an order."""

from typing import Any

import httpx
import pytest

from tests.contract.walk import ADDRESS
from tests.support.http.accounts import Account
from tests.support.http.orders import act, place, problem


async def test_an_order_comes_with_metadata_tags_a_note_and_both_addresses(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = await place(
        web,
        owner,
        metadata={"channel": "web", "basket": ""},
        tags=[" Gift ", "gift", "cafe\u0301"],
        note="Ring twice.",
        shipping_address=ADDRESS,
        billing_address={**ADDRESS, "city": "Paris"},
    )

    notes = await act(web, owner, order, "notes/", method="GET")
    shipping = await act(web, owner, order, "shipping-address/", method="GET")
    billing = await act(web, owner, order, "billing-address/", method="GET")
    [placed] = (await act(web, owner, order, "events/", method="GET")).json()["events"]

    assert order.json()["metadata"] == {"basket": "", "channel": "web"}
    assert order.json()["tags"] == ["Gift", "caf\xe9"]
    assert [(n["kind"], n["visibility"], n["text"]) for n in notes.json()] == [
        ("note", "public", "Ring twice.")
    ]
    assert (shipping.json()["city"], billing.json()["city"]) == ("London", "Paris")
    assert "Ring" not in str(placed)


async def test_metadata_is_merged_and_null_removes(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, metadata={"a": "1", "b": "2"})

    merged = await act(
        web,
        staff,
        order,
        "metadata/",
        {"metadata": {"b": "3", "c": "4", "a": None}},
        method="PATCH",
    )
    same = await act(
        web, staff, order, "metadata/", {"metadata": {"b": "3", "x": None}}, method="PATCH"
    )
    full = await act(
        web,
        staff,
        order,
        "metadata/",
        {"metadata": {str(n): "" for n in range(49)}},
        method="PATCH",
    )

    assert merged.json()["metadata"] == {"b": "3", "c": "4"}
    assert same.headers["etag"] == merged.headers["etag"] == '"2"'
    assert problem(full) == (422, "validation")


async def test_tags_are_replaced(web: httpx.AsyncClient, owner: Account, staff: Account) -> None:
    order = await place(web, owner, tags=["gift"])

    tagged = await act(web, staff, order, "tags/", {"tags": ["express", "EXPRESS"]}, method="PUT")
    same = await act(web, staff, order, "tags/", {"tags": ["express"]}, method="PUT")
    none = await act(web, staff, order, "tags/", {"tags": []}, method="PUT")

    assert tagged.json()["tags"] == ["express"]
    assert same.headers["etag"] == tagged.headers["etag"]
    assert none.json()["tags"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": ["x"] * 21},
        {"tags": ["x" * 65]},
        {"tags": [" "]},
        {"tags": ["a\nb"]},
        {"tags": "gift"},
        {"metadata": {str(n): "" for n in range(51)}},
        {"metadata": {"k" * 65: ""}},
        {"metadata": {"": ""}},
        {"metadata": {"k": "v" * 501}},
        {"metadata": {"k": 1}},
        {"metadata": {"k": None}},
        {"metadata": {"k": "\x00"}},
        {"note": "x" * 2_001},
        {"billing_address": {"name": "x"}},
    ],
)
async def test_more_than_an_order_takes_is_refused(
    web: httpx.AsyncClient, owner: Account, wrong: dict[str, Any]
) -> None:
    assert problem(await place(web, owner, **wrong)) == (422, "validation")


async def test_the_billing_address_and_the_contact_change_at_any_time(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await act(web, staff, order, "cancel/", {"reason": "FRAUD"})

    shipping = await act(web, owner, order, "shipping-address/", ADDRESS, method="PUT")
    billing = await act(web, owner, order, "billing-address/", ADDRESS, method="PUT")
    contact = await act(web, owner, order, "contact/", {"email": "a@example.com"}, method="PUT")

    assert problem(shipping) == (409, "order-not-editable")
    assert (billing.status_code, contact.status_code) == (200, 200)
