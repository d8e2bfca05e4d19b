"""A payment provider's reports are recorded, each once, whatever the order's state, so that an
order's money agrees with the provider's books. The cases "Payments" of the field."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.commands.expiry import BEGINNING, Timer, expire_some
from order_service.domain.commands import ExpireAuthorizations
from order_service.ids import now
from order_service.main import create_app
from order_service.settings import Settings
from projections.queries.expiring import expired_holds
from tests.conftest import serving, serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import act, change, place, problem
from tests.support.read_side.read_side import advance_all

TWENTY = [{"sku": "A", "quantity": 2, "unit_price": "10.00"}]
HOLD = {"kind": "authorization", "amount": "20.00", "provider_reference": "pi_1"}
CAPTURE = {"kind": "capture", "source": "provider"}


async def pay(web: httpx.AsyncClient, staff: Account, order: httpx.Response, **body: Any) -> Any:
    return await act(web, staff, order, "payments/", body)


async def authorized(web: httpx.AsyncClient, owner: Account, staff: Account) -> httpx.Response:
    order = await place(web, owner, items=TWENTY)
    assert (await pay(web, staff, order, **HOLD)).status_code == 200
    return order


def money_of(answer: httpx.Response) -> tuple[str, ...]:
    order = answer.json()
    return tuple(order[name] for name in ("authorized", "captured", "amount_due", "credit_due"))


async def test_each_capture_of_a_hold_has_a_reference_of_its_own(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await authorized(web, owner, staff)

    part = await pay(web, staff, order, **CAPTURE, amount="10.00", provider_reference="pi_1")
    first, again, second = [
        await pay(
            *(web, staff, order),
            **CAPTURE,
            amount="10.00",
            provider_reference=reference,
            authorization_reference="pi_1",
        )
        for reference in ("ch_1", "ch_1", "ch_2")
    ]

    assert problem(part) == (422, "capture-reference-required")
    assert money_of(first) == ("10.00", "10.00", "10.00", "0.00")
    assert again.headers["etag"] == first.headers["etag"]
    assert money_of(second) == ("0.00", "20.00", "0.00", "0.00")
    assert second.json()["status"] == "PAID"
    assert [c["provider_reference"] for c in second.json()["payments"][0]["captures"]] == [
        "ch_1",
        "ch_2",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("pi_same", "pi_same "),
        ("pi_same", "\u2003pi_same"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u212b", "\u00c5"),
    ],
)
async def test_references_are_compared_in_one_form(
    web: httpx.AsyncClient, owner: Account, staff: Account, first: str, second: str
) -> None:
    order = await place(web, owner, items=TWENTY)

    one, same = [
        await pay(web, staff, order, **CAPTURE, amount="5.00", provider_reference=reference)
        for reference in (first, second)
    ]
    other = await pay(web, staff, order, **CAPTURE, amount="6.00", provider_reference=second)

    assert (one.status_code, same.status_code) == (200, 200)
    assert same.json()["captured"] == "5.00"
    assert problem(other) == (409, "payment-reference-conflict")


async def test_a_hold_captures_what_is_due(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await authorized(web, owner, staff)
    [hold] = (await act(web, staff, order, "notes/", {"text": "."})).json()["payments"]
    await act(*(web, staff, order, "lines/1/cancel/"), {"quantity": 1, "reason": "OUT_OF_STOCK"})
    path = f"payments/{hold['id']}/capture/"

    too_much = await act(web, staff, order, path, {"amount": "10.01"})
    captured = await act(web, staff, order, path, {})

    assert problem(too_much) == (422, "amount-exceeds-due")
    assert money_of(captured) == ("10.00", "10.00", "0.00", "0.00")


async def test_holds_by_hand_hold_no_more_than_is_due(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await authorized(web, owner, staff)

    second = await pay(web, staff, order, **HOLD | {"provider_reference": "pi_2"})
    reported = await pay(
        web, staff, order, **HOLD | {"provider_reference": "pi_2", "source": "provider"}
    )

    assert problem(second) == (422, "amount-exceeds-due")
    assert money_of(reported) == ("40.00", "0.00", "20.00", "0.00")


async def test_a_declined_hold_holds_nothing(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await authorized(web, owner, staff)
    [hold] = (await act(web, staff, order, "notes/", {"text": "."})).json()["payments"]

    failed = await act(web, staff, order, f"payments/{hold['id']}/fail/", {"code": "declined"})
    captured = await act(web, staff, order, f"payments/{hold['id']}/capture/", {})

    assert failed.json()["payment_status"] == "UNPAID"
    [closed] = failed.json()["payments"]
    assert (closed["closed"], closed["open"], closed["failure_code"]) == (
        *("failed", "0.00"),
        "declined",
    )
    assert problem(captured) == (409, "payment-not-capturable")


@pytest.mark.parametrize("before", ["canceled", "captured", "above what is due", "delivered"])
async def test_a_providers_authorization_is_recorded_whatever_the_order(
    web: httpx.AsyncClient, owner: Account, staff: Account, before: str
) -> None:
    order = await place(web, owner, items=TWENTY)
    if before == "canceled":
        await change(web, staff, order, status="CANCELED")
    if before == "captured":
        await pay(web, staff, order, **CAPTURE, amount="20.00", provider_reference="pi_1")
    if before == "delivered":
        for status in ("PAID", "SHIPPED", "DELIVERED"):
            await change(web, staff, order, status=status)
    amount = "25.00" if before == "above what is due" else "20.00"

    held = await pay(web, staff, order, **HOLD | {"source": "provider", "amount": amount})

    assert held.status_code == 200
    payment = held.json()["payments"][-1]
    assert payment["authorized"] == amount
    assert payment["open"] == ("0.00" if before == "captured" else amount)
    assert payment["to_void"] is (before == "canceled")


async def test_a_hold_that_has_expired_is_recorded_as_such(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, items=TWENTY)
    old = HOLD | {"expires_at": "2020-01-01T00:00:00Z"}

    by_hand = await pay(web, staff, order, **old)
    reported = await pay(web, staff, order, **old, source="provider")

    assert problem(by_hand) == (422, "validation")
    assert (reported.json()["payment_status"], reported.json()["authorized"]) == ("UNPAID", "0.00")
    assert reported.json()["payments"][0]["closed"] == "expired"


async def test_a_timer_closes_holds_that_have_expired(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    app = create_app(settings)
    at = now() + timedelta(hours=1)
    timer = Timer("authorizations", 2, expired_holds, lambda: ExpireAuthorizations(at))
    async with serving(app) as web:
        owner, staff = [await new_account(web_engine, r) for r in ("customer", "staff")]
        orders = [await place(web, owner, items=TWENTY) for _ in range(2)]
        for order, until in zip(orders, (at, at + timedelta(hours=1)), strict=True):
            held = await pay(web, staff, order, **HOLD, expires_at=until.isoformat())
            assert held.status_code == 200
        await advance_all(projector_engine, cache)
        early = await expire_some(web_engine, app.state.log, timer, now(), BEGINNING)
        late = await expire_some(web_engine, app.state.log, timer, at, BEGINNING)
        await advance_all(projector_engine, cache)
        over, still = [
            (await web.get(order.headers["location"], headers=owner.headers)).json()
            for order in orders
        ]

    assert (early, late) == (BEGINNING, BEGINNING)
    assert (over["payments"][0]["closed"], over["payment_status"]) == ("expired", "UNPAID")
    assert (still["payments"][0]["closed"], still["payment_status"]) == (None, "AUTHORIZED")


async def test_a_bounce_stops_the_shipping_until_the_money_is_back(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, items=TWENTY)
    paid = await pay(web, staff, order, **CAPTURE, amount="20.00", provider_reference="sepa_1")
    path = f"payments/{paid.json()['payments'][0]['id']}"

    bounced = await act(
        *(web, staff, order, f"{path}/reverse/"),
        {"kind": "BOUNCE", "provider_reference": "r_1"},
    )
    repeated = await act(
        *(web, staff, order, f"{path}/reverse/"),
        {"kind": "BOUNCE", "provider_reference": "r_1 "},
    )
    shipped = await act(web, staff, order, "shipments/", {})
    by_status = await change(web, staff, order, status="SHIPPED")
    restored = await act(web, staff, order, f"{path}/restore/", {})
    at_last = await act(web, staff, order, "shipments/", {})

    assert (bounced.json()["payment_status"], bounced.json()["status"]) == ("DISPUTED", "PAID")
    assert (bounced.json()["reversed"], bounced.json()["amount_due"]) == ("20.00", "20.00")
    assert bounced.json()["allowed_transitions"] == ["CANCELED"]
    assert repeated.headers["etag"] == bounced.headers["etag"]
    assert problem(shipped) == problem(by_status) == (409, "payment-required")
    assert (restored.json()["payment_status"], restored.json()["reversed"]) == ("PAID", "0.00")
    assert at_last.json()["status"] == "SHIPPED"


async def test_one_refund_reference_settles_one_refund(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, items=TWENTY)
    await change(web, staff, order, status="PAID")
    refunds = [
        (await act(web, staff, order, "refunds/", {"amount": "5.00", "reason": "GOODWILL"}))
        for _ in range(2)
    ]
    ids = [answer.json()["refunds"][-1]["id"] for answer in refunds]

    first, again, second = [
        await act(
            *(web, staff, order, f"refunds/{refund}/settle/"),
            {"provider_reference": reference},
        )
        for refund, reference in ((ids[0], "re_1"), (ids[0], " re_1"), (ids[1], "re_1"))
    ]

    assert (first.status_code, again.headers["etag"]) == (200, first.headers["etag"])
    assert problem(second) == (409, "payment-reference-conflict")


async def test_a_refund_goes_to_the_payment_that_it_names(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner, items=TWENTY)
    for reference in ("ch_1", "ch_2"):
        paid = await pay(web, staff, order, **CAPTURE, amount="10.00", provider_reference=reference)
    first, second = [payment["id"] for payment in paid.json()["payments"]]
    refund = {"reason": "GOODWILL", "payment_id": first}

    too_much = await act(web, staff, order, "refunds/", {**refund, "amount": "10.01"})
    named = await act(web, staff, order, "refunds/", {**refund, "amount": "4.00"})
    newest = await act(web, staff, order, "refunds/", {"reason": "GOODWILL", "amount": "12.00"})
    elsewhere = await act(
        *(web, staff, order, "refunds/"),
        {"reason": "OTHER", "source": "provider", "provider_reference": "re_9", "amount": "1.00"},
    )

    assert problem(too_much) == (422, "refund-exceeds-captured")
    assert named.json()["refunds"][-1]["payment_id"] == first
    assert [(r["payment_id"], r["amount"]) for r in newest.json()["refunds"][1:]] == [
        (second, "10.00"),
        (first, "2.00"),
    ]
    last = elsewhere.json()["refunds"][-1]
    assert (last["status"], last["provider_reference"]) == ("COMPLETED", "re_9")


async def test_money_that_an_owner_only_says_was_paid_is_not_refunded_by_itself(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with serving_with(settings, SELF_SERVICE_TRANSITIONS="PAID,CANCELED") as web:
        owner, staff = [await new_account(web_engine, r) for r in ("customer", "staff")]
        order = await place(web, owner, items=TWENTY)
        paid = await change(web, owner, order, status="PAID")
        canceled = await change(web, owner, order, status="CANCELED")
        by_hand = await act(web, staff, order, "refunds/", {"reason": "OTHER"})

    assert paid.json()["payments"][0]["source"] == "self_service"
    assert (canceled.json()["refunds"], canceled.json()["credit_due"]) == ([], "20.00")
    assert by_hand.json()["refunds"][0]["amount"] == "20.00"


async def test_external_references_differ_by_more_than_space(
    web: httpx.AsyncClient, owner: Account
) -> None:
    first, same, other = [
        await place(web, owner, external_reference=reference)
        for reference in ("SO-1001", "SO-1001 ", "so-1001")
    ]

    assert first.status_code == other.status_code == 201
    assert problem(same) == (409, "duplicate-reference")
