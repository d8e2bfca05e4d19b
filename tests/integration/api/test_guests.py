"""Orders of guests: placed by the shop, read by whoever knows number and e-mail address."""

import asyncio
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.accounts.tokens import AccessTokens
from order_service.settings import Settings
from tests.conftest import run_sql, serving_with
from tests.support.http.accounts import Account, new_key
from tests.support.http.orders import act, change, place, problem

GUEST = {"email": "Ada.Byron@Example.com", "name": "Ada Byron", "phone": "+44 20 7946 0000"}
CALLERS = ("staff", "key")


async def look_up(web: httpx.AsyncClient, number: str, email: str) -> httpx.Response:
    return await web.post("/orders/lookup/", json={"number": number, "email": email})


@pytest.fixture
async def guests_order(web: httpx.AsyncClient, staff: Account) -> httpx.Response:
    return await place(web, staff, customer=GUEST)


@pytest.fixture
async def guest(web: httpx.AsyncClient, guests_order: httpx.Response) -> Account:
    found = (await look_up(web, guests_order.json()["number"], GUEST["email"])).json()
    return Account("", "", {"Authorization": f"Bearer {found['access_token']}"})


@pytest.mark.parametrize("by", CALLERS)
async def test_the_shop_places_orders_of_guests(
    web: httpx.AsyncClient, web_engine: AsyncEngine, staff: Account, owner: Account, by: str
) -> None:
    shop = staff if by == "staff" else await new_key(web_engine)

    placed = await place(web, shop, customer=GUEST, external_reference="cart-1")
    again = await place(web, shop, customer=GUEST, external_reference="cart-1 ")
    paid = await change(web, staff, placed, status="PAID")
    contact = await act(web, staff, placed, "contact/", method="GET")
    seen_by_another = await act(web, owner, placed, "contact/", method="GET")

    assert placed.json()["user_id"] is None
    assert problem(again) == (409, "duplicate-reference")
    assert paid.json()["status"] == "PAID"
    assert contact.json() == {**GUEST, "email": "Ada.Byron@example.com"}
    assert problem(seen_by_another) == (404, "order-not-found")


async def test_a_customer_orders_for_himself_whatever_contact_he_gives(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    by_owner = await place(web, owner, customer=GUEST)
    acting = await new_key(web_engine, acts_for=owner)
    by_key = await place(web, acting, customer=GUEST)
    contact = await act(web, owner, by_key, "contact/", method="GET")

    assert by_owner.json()["user_id"] == by_key.json()["user_id"] == owner.user_id
    assert contact.json()["name"] == "Ada Byron"


async def test_a_guest_reads_the_one_order_and_changes_nothing(
    web: httpx.AsyncClient,
    staff: Account,
    owner: Account,
    guests_order: httpx.Response,
    guest: Account,
) -> None:
    other = await place(web, staff, customer=GUEST)
    own = await place(web, owner)
    path = f"/orders/{guests_order.json()['id']}/"

    read = await web.get(path, headers=guest.headers)
    slowly = await web.get(f"{path}?version=1", headers=guest.headers)
    parts = [
        await act(web, guest, guests_order, part, method="GET")
        for part in ("events/", "notes/", "contact/", "actions/", "diff/?from=0&to=1")
    ]
    unseen = [
        await web.get(f"/orders/{order.json()['id']}/{part}", headers=guest.headers)
        for order in (other, own)
        for part in ("", "events/", "contact/", "actions/", "?version=1")
    ]
    changes = [
        await change(web, guest, guests_order, status="CANCELED"),
        await change(web, guest, guests_order, status="PENDING"),
        await act(web, guest, guests_order, "cancel/", {"reason": "OTHER", "note": "x"}),
        await act(web, guest, guests_order, "notes/", {"text": "Hello"}),
        await act(web, guest, guests_order, "contact/", GUEST, method="PUT"),
        await place(web, guest),
        await web.get("/users/me/", headers=guest.headers),
        await web.get("/orders/", headers=guest.headers),
        await web.get(f"/orders/user/{guests_order.json()['id']}/", headers=guest.headers),
        await web.get(f"/orders/user/{owner.user_id}/", headers=guest.headers),
        await web.post("/stream-tickets/", headers=guest.headers),
    ]
    foreign = await act(web, guest, own, "cancel/", {"reason": "OTHER", "note": "x"})

    assert read.content == slowly.content == guests_order.content
    assert [part.status_code for part in parts] == [200] * 5
    assert [a["allowed"] for a in parts[3].json()["actions"] if a["allowed"]] == []
    assert {problem(answer) for answer in unseen} == {(404, "order-not-found")}
    assert {problem(answer) for answer in changes} == {(403, "forbidden")}
    assert problem(foreign) == (404, "order-not-found")


async def test_every_miss_looks_alike_and_takes_as_long(
    web: httpx.AsyncClient,
    staff: Account,
    owner: Account,
    guests_order: httpx.Response,
    settings: Settings,
) -> None:
    number = guests_order.json()["number"]
    without_contact = await place(web, owner)
    erased = await place(web, staff, customer=GUEST)
    erased_id = erased.json()["id"]
    erase = f"DELETE FROM order_texts WHERE order_id = '{erased_id}'"
    await run_sql(settings, erase, settings.DB_NAME)
    misses = [
        (number, "somebody@example.com"),
        (number, ""),
        ("A-999999-0", GUEST["email"]),
        ("no number", GUEST["email"]),
        (without_contact.json()["number"], owner.email),
        (erased.json()["number"], GUEST["email"]),
    ]

    answers, times = [], []
    for asked in misses:
        began = monotonic()
        answers.append(await look_up(web, *asked))
        times.append(monotonic() - began)

    assert {problem(answer) for answer in answers} == {(404, "order-not-found")}
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert min(times) >= limits.LOOK_UP_ANSWER_S


async def test_the_address_counts_however_it_is_written(
    web: httpx.AsyncClient, guests_order: httpx.Response
) -> None:
    found = await look_up(
        web, f" {guests_order.json()['number'].lower()} ", "ADA.BYRON@EXAMPLE.COM"
    )

    assert found.status_code == 200
    assert found.json()["order_id"] == guests_order.json()["id"]
    assert found.json()["expires_in"] == 1800
    assert found.headers["cache-control"] == "no-store"


async def test_lookups_are_strictly_limited(
    settings: Settings, guests_order: httpx.Response
) -> None:
    number = guests_order.json()["number"]
    async with serving_with(settings, RATE_LIMIT="200/minute") as web:
        # More than twice as many as a minute has, since one may end among them.
        guesses = [look_up(web, number, f"{n}@example.com") for n in range(11)]
        guessed = await asyncio.gather(*guesses)
        right = await look_up(web, number, GUEST["email"])
        lookups = [look_up(web, f"A-{n}00000-1", "a@example.com") for n in range(1, 42)]
        others = await asyncio.gather(*lookups)

    assert {answer.status_code for answer in guessed} == {404, 429}
    assert right.status_code == 429
    refused = [answer for answer in others if answer.status_code == 429]
    assert {answer.status_code for answer in others} == {404, 429}
    assert {*refused[0].json()["violated-policies"]} == {"lookup-address"}


async def test_a_token_for_an_order_is_no_token_of_a_user(
    web: httpx.AsyncClient, settings: Settings, owner: Account
) -> None:
    """Even if an order had the id of a user."""
    order = await place(web, owner)
    token = AccessTokens(settings).issue_for_order(UUID(owner.user_id))

    answer = await web.get(
        f"/orders/{order.json()['id']}/", headers={"Authorization": f"Bearer {token}"}
    )

    assert problem(answer) == (404, "order-not-found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "nobody"},
        {"name": "Ada"},
        {"email": "a@example.com", "phone": ""},
        {"email": "a@example.com", "name": "a\nb"},
        {"email": "a@example.com", "fax": "1"},
        [],
    ],
)
async def test_a_wrong_contact_is_refused(
    web: httpx.AsyncClient, staff: Account, guests_order: httpx.Response, wrong: Any
) -> None:
    placed = await place(web, staff, customer=wrong)
    changed = await act(web, staff, guests_order, "contact/", wrong, method="PUT")

    assert problem(placed) == problem(changed) == (422, "validation")
