"""The actions that a caller may take on an order, and the reasons against the others."""

from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import act, change, place, problem


async def actions(
    web: httpx.AsyncClient, account: Account, order: httpx.Response
) -> httpx.Response:
    return await web.get(f"/orders/{order.json()['id']}/actions/", headers=account.headers)


def allowed(answer: httpx.Response) -> set[str]:
    """The names of the allowed actions, with the body's values that select them."""
    return {
        " ".join((a["name"], *a.get("body", {}).values()))
        for a in answer.json()["actions"]
        if a["allowed"]
    }


def named(answer: httpx.Response, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(a for a in answer.json()["actions"] if a["name"] == name)
    return found


async def test_the_actions_of_a_new_order(
    web: httpx.AsyncClient, owner: Account, staff: Account, other: Account
) -> None:
    order = await place(web, owner)

    by_owner = await actions(web, owner, order)
    by_staff = await actions(web, staff, order)
    foreign = await actions(web, other, order)

    editing = {
        *("orders_change_shipping_address", "orders_change_billing_address"),
        *("orders_change_contact", "notes_add"),
        *("lines_add", "lines_change_quantity", "lines_remove"),
        *("orders_cancel", "orders_change_status CANCELED"),
    }
    assert allowed(by_owner) == editing
    assert allowed(by_staff) == {
        *editing,
        *("lines_cancel_units", "orders_change_status PAID", "orders_edit", "holds_add"),
        *("payments_add authorization", "payments_add capture"),
        *("orders_set_metadata", "orders_set_tags"),
    }
    refused = named(by_owner, "payments_add")["reason"]
    assert refused["type"] == "/problems/forbidden"
    assert named(by_staff, "shipments_dispatch")["reason"]["type"] == "/problems/payment-required"
    assert by_owner.headers["cache-control"] == "private, no-store"
    assert problem(foreign) == (404, "order-not-found")


async def test_the_paths_of_actions_on_parts_execute_them(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await act(web, staff, order, "payments/", {"kind": "authorization", "amount": 5})
    capture = named(await actions(web, staff, order), "payments_capture")
    await web.post(capture["path"], headers=staff.headers)
    await change(web, staff, order, status="PAID")
    await act(web, staff, order, "shipments/")
    deliver = named(await actions(web, staff, order), "shipments_confirm_delivery")
    await web.request(deliver["method"], deliver["path"], headers=staff.headers)
    pen = {"lines": [{"line_id": 1, "quantity": 1}], "reason": "OTHER"}
    await act(web, owner, order, "returns/", pen)
    approve = named(await actions(web, staff, order), "returns_approve")
    await web.post(approve["path"], headers=staff.headers)
    receive = named(await actions(web, staff, order), "returns_receive")
    await web.post(receive["path"], headers=staff.headers)
    settle = named(await actions(web, staff, order), "refunds_settle")

    settled = await web.post(settle["path"], headers=staff.headers)

    assert all(a["allowed"] for a in (capture, deliver, approve, receive, settle))
    assert settled.json()["refunded"] == "9.99"
    at_last = await actions(web, owner, order)
    always = {"notes_add", "orders_change_billing_address", "orders_change_contact"}
    assert {*always, "returns_request"} == allowed(at_last)
    delivered_at = settled.json()["shipments"][0]["delivered_at"]
    until = named(at_last, "returns_request")["until"]
    assert datetime.fromisoformat(until) - datetime.fromisoformat(delivered_at) == timedelta(30)
    assert named(at_last, "orders_cancel")["reason"]["type"] == "/problems/already-shipped"


async def test_actions_show_the_windows_of_owners(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with serving_with(
        settings, CUSTOMER_CANCEL_WINDOW="PT0S", SELF_SERVICE_TRANSITIONS="PAID,CANCELED"
    ) as web:
        owner = await new_account(web_engine)
        order = await place(web, owner)
        pending = await actions(web, owner, order)
        await change(web, owner, order, status="PAID")
        paid = await actions(web, owner, order)

    assert {"orders_cancel", "orders_change_status PAID"} <= allowed(pending)
    assert "until" not in named(pending, "orders_cancel")
    always = {"notes_add", "orders_change_billing_address", "orders_change_contact"}
    assert allowed(paid) == {*always, "orders_change_shipping_address"}
    cancel = named(paid, "orders_cancel")
    assert cancel["reason"]["type"] == "/problems/cancel-window-closed"
    assert cancel["until"] == order.json()["created_at"]
