"""Preconditions and repeats of order commands over HTTP: If-Match, expected_version, keys."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import ITEMS, change, place, problem, stored_events


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")


async def test_a_stale_if_match_is_refused_with_the_present_etag(
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


async def test_a_stale_expected_version_in_the_body_is_refused(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)

    stale = await change(web, staff, order, status="PAID", expected_version=2)

    assert (stale.status_code, stale.json()["current_version"]) == (409, 1)
    assert stale.json()["type"] == "/problems/concurrent-update"


async def test_a_repeated_creation_gets_the_first_answer(
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


async def test_a_repeated_change_gets_the_first_answer(
    web: httpx.AsyncClient, staff: Account, web_engine: AsyncEngine
) -> None:
    """Even with the same If-Match, which is stale by then: the client has not seen a newer tag."""
    order = await place(web, staff)
    key = {"Idempotency-Key": "pay", "If-Match": '"1"'}
    first = await change(web, staff, order, key, status="PAID")
    await change(web, staff, order, status="SHIPPED")

    again = await change(web, staff, order, key, status="PAID")

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["etag"] == '"3"'
    assert await stored_events(web_engine) == 5


async def test_another_request_with_a_used_key_is_refused(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}
    await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    other = await web.post("/orders/", json={"items": ITEMS[:1]}, headers=headers)

    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert await stored_events(web_engine) == 1


async def test_the_key_of_a_refused_request_can_be_used_again(
    web: httpx.AsyncClient, owner: Account
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}
    wrong = await web.post("/orders/", json={"items": ITEMS, "total_price": "1"}, headers=headers)

    right = await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    assert (wrong.status_code, right.status_code) == (422, 201)


async def test_the_same_key_of_two_users_makes_two_orders(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    other = await new_account(web_engine)

    answers = [
        await web.post(
            "/orders/", json={"items": ITEMS}, headers={**account.headers, "Idempotency-Key": "k"}
        )
        for account in (owner, other)
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


async def test_two_keys_are_refused(web: httpx.AsyncClient, owner: Account) -> None:
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    answer = await web.post(
        "/orders/", json={"items": ITEMS}, headers=[*owner.headers.items(), *keys]
    )

    assert problem(answer) == (400, "idempotency-key-invalid")


async def test_fifty_concurrent_repeats_make_one_order(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    headers = {**owner.headers, "Idempotency-Key": "cart-1"}

    answers = await asyncio.gather(
        *(web.post("/orders/", json={"items": ITEMS}, headers=headers) for _ in range(50))
    )

    assert {(a.status_code, a.content) for a in answers} == {(201, answers[0].content)}
    assert await stored_events(web_engine) == 1


async def test_one_of_two_concurrent_changes_of_a_version_is_stale(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order = await place(web, staff)
    seen = {"If-Match": '"1"'}

    answers = await asyncio.gather(
        change(web, staff, order, seen, status="PAID"),
        change(web, staff, order, seen, status="CANCELED"),
    )

    assert sorted(a.status_code for a in answers) == [200, 412]


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        (['"1"'], 200),
        (["*"], 200),
        (['"7", "1"'], 200),
        (['"7"', '"1"'], 200),
        (['"7",, "1" ,'], 200),
        (['"a,b", "1"'], 200),
        (['"7"'], 412),
        (['"01"'], 412),
        (['""'], 412),
        (['W/"1"'], 412),
        (['"1,1"'], 412),
        (['"1", *'], 400),
        (['"1" "7"'], 400),
        ([""], 400),
        (["1"], 400),
        (['"1'], 400),
    ],
)
async def test_if_match_is_a_list_of_strong_tags(
    web: httpx.AsyncClient, staff: Account, if_match: list[str], status: int
) -> None:
    order = await place(web, staff)
    headers = httpx.Headers([*staff.headers.items(), *(("If-Match", tag) for tag in if_match)])

    answer = await web.patch(
        f"/orders/{order.json()['id']}/", json={"status": "PAID"}, headers=headers
    )

    assert answer.status_code == status


async def test_visibility_is_checked_before_if_match_and_if_match_before_the_rules(
    web: httpx.AsyncClient, staff: Account, owner: Account
) -> None:
    order = await place(web, staff)

    foreign = await change(web, owner, order, {"If-Match": '"9"'}, status="CANCELED")
    illegal = await change(web, staff, order, {"If-Match": '"9"'}, status="DELIVERED")

    assert (foreign.status_code, illegal.status_code) == (404, 412)


async def test_a_document_has_the_same_bytes_before_and_after_storing(
    web: httpx.AsyncClient, owner: Account
) -> None:
    """JSONB does not preserve the order of an object's keys."""
    item = {**ITEMS[0], "zeta": "1", "b": "2", "aa": "3"}
    headers = {**owner.headers, "Idempotency-Key": "k"}

    first = await web.post("/orders/", json={"items": [item]}, headers=headers)
    again = await web.post("/orders/", json={"items": [item]}, headers=headers)
    read = await web.get(first.headers["location"], headers=owner.headers)

    assert first.content == again.content == read.content


async def test_the_fingerprint_of_a_request_never_changes(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    """Keys never expire: neither another spelling nor a field that is added later may change it."""
    body: Any = {"items": [{"sku": "A", "quantity": 1, "unit_price": 1.50}]}
    headers = {**owner.headers, "Idempotency-Key": "k"}
    await web.post("/orders/", json=body, headers=headers)
    other_spelling = b'{"items": [ {"price": 1.5, "quantity": 1, "product_id": "A"} ] }'

    again = await web.post(
        "/orders",
        content=other_spelling,
        headers={**headers, "Content-Type": "application/json; charset=utf-8"},
    )

    assert again.headers["idempotent-replayed"] == "true"
    async with web_engine.connect() as connection:
        stored = await connection.execute(text("SELECT metadata->>3 FROM events"))
        assert stored.scalar_one() == "x4bCSrBmaOlgAwwg9-ZbyQ"


async def test_an_order_id_may_be_written_in_capitals(
    web: httpx.AsyncClient, staff: Account
) -> None:
    order_id = (await place(web, staff)).json()["id"]
    path = f"/orders/{order_id.upper()}/"

    answer = await web.patch(path, json={"status": "PAID"}, headers=staff.headers)

    assert answer.status_code == 200
    found = answer.json()
    assert (found["id"], found["status"], found["version"]) == (order_id, "PAID", 3)
