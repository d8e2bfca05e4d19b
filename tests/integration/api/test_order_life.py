"""The commands on an order over HTTP, by noun: answers and refusals."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import act, change, place, problem
from tests.support.log.examples import PLACED
from tests.support.log.given_log import given_order
from tests.support.values import replace

ADDRESS = {"name": "Ada", "line1": "12 Square", "city": "London", "country": "GB"}


async def test_lines_can_be_edited_until_there_is_a_payment(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    new = {"sku": "CAP", "quantity": "2", "unit_price": 1.5, "colour": "red"}

    added = await act(web, owner, order, "lines/", new)
    changed = await act(web, owner, order, "lines/1/", {"quantity": 1}, method="PATCH")
    same = await act(web, owner, order, "lines/1/", {"quantity": 1}, method="PATCH")
    stale = await act(web, owner, order, "lines/2/", {"expected_version": 1}, method="DELETE")
    removed = await act(web, owner, order, "lines/2/", method="DELETE")
    too_fine = await act(web, owner, order, "lines/", {**new, "unit_price": "1.000000005"})
    unpriced = await act(web, owner, order, "lines/", {"sku": "CAP", "quantity": 1})
    unknown = [await act(web, owner, order, f"lines/{n}/", method="DELETE") for n in ("9", "x")]
    await act(web, owner, order, "lines/3/", method="DELETE")
    last = await act(web, owner, order, "lines/1/", method="DELETE")
    await act(web, staff, order, "payments/", {"kind": "capture", "amount": 1})
    paid = await act(web, owner, order, "lines/", new)

    assert [(a.status_code, a.json()["total_price"]) for a in (added, changed, removed)] == [
        (200, "27.98"),
        (200, "17.99"),
        (200, "12.99"),
    ]
    assert added.json()["items"][2]["attributes"] == {"colour": "red"}
    assert (same.status_code, same.headers["etag"]) == (200, '"3"')
    assert problem(stale) == (409, "concurrent-update")
    assert [problem(a) for a in (too_fine, unpriced)] == [(422, "validation")] * 2
    assert [problem(a) for a in unknown] == [(404, "line-not-found")] * 2
    assert problem(last) == (409, "last-line")
    assert problem(paid) == (409, "order-not-editable")


async def test_addresses_and_notes_are_stored_outside_the_events(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, owner, shipping_address=ADDRESS)

    moved = await act(
        web, owner, order, "shipping-address/", {**ADDRESS, "city": "Paris"}, method="PUT"
    )
    noted = await act(web, owner, order, "notes/", {"text": "Ring\ntwice"})
    hidden = await act(web, owner, order, "notes/", {"text": "x", "visibility": "internal"})
    internal = await act(web, staff, order, "notes/", {"text": "VIP", "visibility": "internal"})
    nowhere = {**ADDRESS, "country": "Freedonia"}
    wrong = await act(web, owner, order, "shipping-address/", nowhere, method="PUT")
    seen = await act(web, owner, order, "shipping-address/", method="GET")

    assert [a.status_code for a in (moved, noted, internal)] == [200, 200, 200]
    assert "Paris" not in moved.text
    empty = dict.fromkeys(("company", "line2", "region", "postal_code", "phone"))
    assert seen.json() == {**ADDRESS, "city": "Paris", **empty}
    assert problem(hidden) == (403, "forbidden")
    assert problem(wrong) == (422, "validation")
    async with web_engine.connect() as connection:
        stored = await connection.execute(text("SELECT kind, body FROM order_texts"))
        texts = [tuple(row) for row in stored]
    assert sorted(kind for kind, _ in texts) == ["address", "address", "note", "note"]
    assert {body for kind, body in texts if kind == "note"} == {"Ring\ntwice", "VIP"}
    assert sum('"city":"Paris"' in body and '"phone":null' in body for _, body in texts) == 1


async def test_an_order_is_paid_by_an_authorization_and_a_capture(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    reserve = {"kind": "authorization", "amount": "20", "method": "card"}

    authorized = await act(web, staff, order, "payments/", reserve)
    payment = authorized.json()["payments"][0]["id"]
    part = await act(web, staff, order, f"payments/{payment}/capture/", {"amount": "10.00"})
    too_much = await act(web, staff, order, f"payments/{payment}/capture/", {"amount": "10.01"})
    voided = await act(web, staff, order, f"payments/{payment}/void/")
    again = await act(web, staff, order, f"payments/{payment}/void/")
    late = await act(web, staff, order, f"payments/{payment}/capture/")
    failed = await act(web, staff, order, f"payments/{payment}/fail/", {"code": "declined"})
    rest = {"kind": "capture", "amount": 14.98, "source": "provider", "provider_reference": "p-1"}
    paid = await act(web, staff, order, "payments/", rest)
    repeated = await act(web, staff, order, "payments/", rest)
    conflict = await act(web, staff, order, "payments/", {**rest, "amount": 1})

    assert authorized.json()["payment_status"] == "AUTHORIZED"
    assert (part.json()["captured"], part.json()["amount_due"]) == ("10.00", "14.98")
    assert problem(too_much) == (422, "amount-exceeds-due")
    assert voided.json()["authorized"] == "0.00"
    assert problem(again) == (409, "payment-not-voidable")
    assert problem(late) == (409, "payment-not-capturable")
    assert problem(failed) == (409, "payment-captured")
    assert (paid.json()["status"], paid.json()["payment_status"]) == ("PAID", "PAID")
    assert (repeated.status_code, repeated.content) == (200, paid.content)
    assert problem(conflict) == (409, "payment-reference-conflict")


@pytest.mark.parametrize("currency", ["ANG", "BGN"])
async def test_an_order_in_a_withdrawn_currency_accepts_further_commands(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine, currency: str
) -> None:
    """Version 0.1.0 placed such orders; only new ones are refused."""
    placed = replace(PLACED, user_id=UUID(owner.user_id), currency=currency)
    path = f"/orders/{await given_order(web_engine, placed)}/"
    line = {"sku": "CAP", "quantity": 1, "unit_price": "1.55"}

    async def by_staff(part: str, body: Any) -> dict[str, Any]:
        answer = await web.post(f"{path}{part}", json=body, headers=staff.headers)
        assert answer.status_code == 200, answer.text
        order: dict[str, Any] = answer.json()
        return order

    first = (await web.get(path, headers=owner.headers)).json()
    longer = await by_staff("lines/", line)
    paid = await by_staff("payments/", {"kind": "capture"})
    refunding = await by_staff("refunds/", {"amount": "1.55", "reason": "GOODWILL"})
    refunded = await by_staff(f"refunds/{refunding['refunds'][0]['id']}/settle/", {})

    assert (first["currency"], first["total_price"]) == (currency, "24.98")
    assert longer["total_price"] == "26.53"
    assert (paid["status"], paid["captured"]) == ("PAID", "26.53")
    assert (refunded["currency"], refunded["refunded"]) == (currency, "1.55")


async def test_invalid_payments_are_refused(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    absent = f"payments/{uuid4()}/void/"

    answers = [
        await act(web, staff, order, "payments/", body)
        for body in (
            {"kind": "gift"},
            {"kind": "capture", "method": "card"},
            {"kind": "authorization", "authorization_reference": "pi_1"},
            {"kind": "authorization", "expires_at": "2027-01-01T00:00:00"},
            {"kind": "authorization", "expires_at": 1800000000},
            {"kind": "authorization", "expires_at": "1800000000"},
            {"kind": "authorization", "expires_at": "1999-01-01T00:00:00Z"},
            {"kind": "authorization", "expires_at": "2027-01-01 00:00:00Z"},
            {"kind": "authorization", "expires_at": "0001-01-01T00:00:00+14:00"},
            {"kind": "capture", "amount": "0"},
            {"kind": "capture", "amount": "1.999"},
        )
    ]
    unknown = [await act(web, staff, order, path) for path in (absent, "payments/7/void/")]
    by_owner = await act(web, owner, order, "payments/", {"kind": "capture"})

    assert [problem(a) for a in answers] == [(422, "validation")] * len(answers)
    assert all(a.json()["errors"][0]["pointer"].startswith("#") for a in answers)
    assert [problem(a) for a in unknown] == [(404, "not-found")] * 2
    assert (problem(by_owner), by_owner.json()["required_role"]) == ((403, "forbidden"), "staff")


async def test_shipments_are_dispatched_tracked_voided_and_delivered(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    unpaid = await act(web, staff, order, "shipments/")
    await change(web, staff, order, status="PAID")
    pens = {"lines": [{"line_id": 1, "quantity": 2}], "carrier": "DHL"}

    first = await act(web, staff, order, "shipments/", pens)
    lost = first.json()["shipments"][0]["id"]
    again = await act(web, staff, order, "shipments/", pens)
    tracked = await act(
        web, staff, order, f"shipments/{lost}/", {"tracking_number": "T-1"}, method="PATCH"
    )
    unexplained = await act(web, staff, order, f"shipments/{lost}/void/")
    voided = await act(web, staff, order, f"shipments/{lost}/void/", {"reason": "LOST"})
    untrackable = await act(
        web, staff, order, f"shipments/{lost}/", {"carrier": "X"}, method="PATCH"
    )
    rest = await act(web, staff, order, "shipments/")
    nothing = await act(web, staff, order, "shipments/")
    parcel = rest.json()["shipments"][1]["id"]
    too_early = {"delivered_at": "2020-01-01T00:00:00Z"}
    early = await act(web, staff, order, f"shipments/{parcel}/delivered/", too_early)
    arrived = await act(web, staff, order, f"shipments/{parcel}/delivered/")
    late = await act(web, staff, order, f"shipments/{parcel}/void/", {"reason": "LOST"})

    assert problem(unpaid) == (409, "payment-required")
    assert first.json()["status"] == "PARTIALLY_SHIPPED"
    assert problem(again) == (422, "quantity-exceeds-outstanding")
    assert (again.json()["line_id"], again.json()["outstanding"]) == (1, 0)
    assert tracked.json()["shipments"][0]["tracking_number"] == "T-1"
    assert problem(unexplained) == (400, "malformed-request")
    assert voided.json()["status"] == "PAID"
    assert problem(untrackable) == (409, "invalid-transition")
    assert rest.json()["status"] == "SHIPPED"
    assert problem(nothing) == (409, "nothing-to-ship")
    assert problem(early) == (422, "validation")
    assert arrived.json()["status"] == "DELIVERED"
    assert problem(late) == (409, "shipment-delivered")


async def test_units_and_orders_are_canceled_with_a_reason(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await change(web, staff, order, status="PAID")
    one = {"quantity": 1, "reason": "OUT_OF_STOCK"}

    units = await act(web, staff, order, "lines/1/cancel/", one)
    too_many = await act(web, staff, order, "lines/1/cancel/", {**one, "quantity": 2})
    silent = await act(web, owner, order, "cancel/", {"reason": "OTHER"})
    canceled = await act(web, owner, order, "cancel/", {"reason": "OTHER", "note": "Late"})
    again = await act(web, owner, order, "cancel/", {"reason": "DUPLICATE"})

    assert (units.json()["total_price"], units.json()["refund_pending"]) == ("14.99", "9.99")
    assert problem(too_many) == (422, "quantity-exceeds-outstanding")
    assert problem(silent) == (422, "validation")
    assert (canceled.json()["cancel_reason"], canceled.json()["refund_pending"]) == (
        "OTHER",
        "24.98",
    )
    assert (again.status_code, again.content) == (200, canceled.content)


async def test_an_owner_can_cancel_a_paid_order_only_within_the_window(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with serving_with(settings, CUSTOMER_CANCEL_WINDOW="PT0S") as web:
        owner = await new_account(web_engine)
        staff = await new_account(web_engine, role="staff")
        order = await place(web, owner)
        await change(web, staff, order, status="PAID")

        closed = await act(web, owner, order, "cancel/", {"reason": "DUPLICATE"})
        by_patch = await change(web, owner, order, status="CANCELED")
        by_staff = await act(web, staff, order, "cancel/", {"reason": "DUPLICATE"})
        already = await change(web, owner, order, status="CANCELED")

    assert [problem(a) for a in (closed, by_patch)] == [(409, "cancel-window-closed")] * 2
    assert (closed.json()["order_status"], closed.json()["current_version"]) == ("PAID", 3)
    assert (by_staff.status_code, already.status_code) == (200, 200)


async def test_refunds_are_requested_and_settled_or_fail(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await change(web, staff, order, status="PAID")

    asked = await act(web, staff, order, "refunds/", {"amount": "5", "reason": "GOODWILL"})
    refund = asked.json()["refunds"][0]["id"]
    too_much = await act(web, staff, order, "refunds/", {"amount": 20, "reason": "GOODWILL"})
    failed = await act(web, staff, order, f"refunds/{refund}/fail/", {"code": "closed"})
    late = await act(web, staff, order, f"refunds/{refund}/settle/")
    rest = await act(web, staff, order, "refunds/", {"reason": "OTHER", "note": "All of it"})
    whole = rest.json()["refunds"][1]["id"]
    settled = await act(
        web, staff, order, f"refunds/{whole}/settle/", {"provider_reference": "r-1"}
    )

    assert asked.json()["refund_pending"] == "5.00"
    assert problem(too_much) == (422, "refund-exceeds-captured")
    assert too_much.json()["max_refundable"] == "19.98"
    assert failed.json()["refunds"][0]["failure_code"] == "closed"
    assert problem(late) == (409, "refund-not-pending")
    assert (settled.json()["refunded"], settled.json()["payment_status"]) == ("24.98", "REFUNDED")
    assert settled.json()["status"] == "PAID"


async def test_a_return_is_requested_decided_and_received(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    for status in ("PAID", "SHIPPED", "DELIVERED"):
        await change(web, staff, order, status=status)
    pen = {"lines": [{"line_id": 1, "quantity": 1}], "reason": "DAMAGED", "note": "Split"}

    asked = await act(web, owner, order, "returns/", pen)
    first = asked.json()["returns"][0]["id"]
    by_owner = await act(web, owner, order, f"returns/{first}/approve/")
    early = await act(web, staff, order, f"returns/{first}/receive/")
    withdrawn = await act(web, owner, order, f"returns/{first}/cancel/")
    second = (await act(web, owner, order, "returns/", pen)).json()["returns"][1]["id"]
    await act(web, staff, order, f"returns/{second}/approve/")
    rejected = await act(web, staff, order, f"returns/{second}/reject/", {"note": "Used"})
    damaged = {"lines": [{"line_id": 1, "quantity": 1, "condition": "DAMAGED"}]}
    received = await act(web, staff, order, f"returns/{second}/receive/", damaged)
    too_many = await act(web, owner, order, "returns/", {**pen, "lines": [pen["lines"][0]] * 2})

    assert problem(by_owner) == (403, "forbidden")
    assert problem(early) == (409, "return-not-pending")
    assert withdrawn.json()["returns"][0]["status"] == "CANCELED"
    assert problem(rejected) == (409, "return-not-pending")
    assert received.json()["fulfillment_status"] == "PARTIALLY_RETURNED"
    assert (received.json()["refund_pending"], received.json()["items"][0]["returned"]) == (
        "9.99",
        1,
    )
    assert problem(too_many) == (422, "validation")


async def test_an_owner_can_request_a_return_only_within_the_window(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with serving_with(settings, RETURN_WINDOW="PT0S", ALLOW_SHIP_UNPAID="true") as web:
        owner = await new_account(web_engine)
        staff = await new_account(web_engine, role="staff")
        order = await place(web, owner)
        shipped = await act(web, staff, order, "shipments/")
        await act(web, staff, order, f"shipments/{shipped.json()['shipments'][0]['id']}/delivered/")
        pen = {"lines": [{"line_id": 1, "quantity": 1}], "reason": "OTHER"}

        closed = await act(web, owner, order, "returns/", pen)
        by_staff = await act(web, staff, order, "returns/", pen)

    assert shipped.json()["status"] == "SHIPPED"
    assert problem(closed) == (409, "return-window-closed")
    assert by_staff.status_code == 200
