"""API keys over HTTP: made, shown once, narrowed, revoked, limited, and what they may do."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts import key_store
from order_service.accounts.api_keys import new_key as random_key
from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import PASSWORD, Account, new_account, new_key
from tests.support.http.api_keys import bearer, create
from tests.support.http.orders import ITEMS, act, place, problem
from tests.support.waiting import eventually


@pytest.fixture
async def admin(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="admin")


async def row_of(engine: AsyncEngine, key_id: str) -> Any:
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT * FROM api_keys WHERE id = :id"), {"id": UUID(key_id)}
        )
        return found.one()


# --- the life of a key ----------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_stored_as_a_digest(
    web: httpx.AsyncClient, web_engine: AsyncEngine, admin: Account
) -> None:
    created = await create(web, admin, rate_limit="5000/minute")

    key, path = created.json()["key"], created.headers["location"]
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    assert key.startswith(created.json()["prefix"])
    assert len(key) == 86
    shown = {name: value for name, value in created.json().items() if name != "key"}
    assert (await web.get(path, headers=admin.headers)).json() == shown
    listed = await web.get("/api-keys/", headers=admin.headers)
    assert listed.json() == {"items": [shown]}
    assert shown["created_by"] == admin.user_id
    assert key[37:] not in str(await row_of(web_engine, shown["id"]))


async def test_a_key_is_narrowed_and_never_widened(web: httpx.AsyncClient, admin: Account) -> None:
    end = datetime(2199, 1, 1, tzinfo=UTC)
    created = await create(web, admin, expires_at=end.isoformat())
    path, headers = created.headers["location"], admin.headers

    async def change(**body: Any) -> httpx.Response:
        return await web.patch(path, json=body, headers=headers)

    narrowed = await change(name="reader", scopes=["orders:read"], rate_limit="9/second")
    again = await change(scopes=["orders:read", "orders:write"])
    later = await change(expires_at=(end + timedelta(days=1)).isoformat())
    for_ever = await change(expires_at=None)
    nothing = await change(scopes=None)

    found = narrowed.json()
    assert (found["name"], found["scopes"]) == ("reader", ["orders:read"])
    assert found["rate_limit"] == "9/second"
    for member, answer in (
        *(("scopes", again), ("scopes", nothing)),
        *(("expires_at", later), ("expires_at", for_ever)),
    ):
        assert problem(answer) == (422, "validation")
        assert answer.json()["errors"][0]["pointer"] == f"#/{member}"
    assert (await web.get(path, headers=headers)).json() == found


async def test_what_is_wrong_in_a_new_key_is_refused(
    web: httpx.AsyncClient, web_engine: AsyncEngine, admin: Account
) -> None:
    wrong: dict[str, Any] = {
        "name": "x" * 101,
        "scopes": ["orders:everything"],
        "rate_limit": "0/minute",
        "expires_at": "2020-01-01T00:00:00Z",
        "acts_for": str(uuid4()),
    }
    for member, value in wrong.items():
        answer = await create(web, admin, **{member: value})
        assert problem(answer) == (422, "validation"), member
        assert answer.json()["errors"][0]["pointer"].startswith(f"#/{member}")
    assert await key_store.list_all(web_engine) == []


async def test_a_revoked_key_is_named_but_not_listed_changed_or_rotated(
    web: httpx.AsyncClient, admin: Account
) -> None:
    created = await create(web, admin)
    path, headers = created.headers["location"], admin.headers

    first = await web.delete(path, headers=headers)
    again = await web.delete(path, headers=headers)

    assert first.status_code == 200
    assert first.json()["revoked_at"] is not None
    assert again.json() == first.json() == (await web.get(path, headers=headers)).json()
    assert (await web.get("/api-keys/", headers=headers)).json() == {"items": []}
    patched = await web.patch(path, json={"name": "x"}, headers=headers)
    rotated = await web.post(f"{path}rotate/", headers=headers)
    assert problem(patched) == problem(rotated) == (404, "not-found")
    assert problem(await web.get("/orders/", headers=bearer(created))) == (401, "token-invalid")


async def test_there_are_no_more_keys_than_the_limit(
    web: httpx.AsyncClient, admin: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.API_KEYS_MAX", 1)
    first = await create(web, admin)

    assert problem(await create(web, admin)) == (409, "too-many-api-keys")
    await web.delete(first.headers["location"], headers=admin.headers)
    assert (await create(web, admin)).status_code == 201


async def test_a_key_ends_when_it_said(web: httpx.AsyncClient, admin: Account) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    created = await create(web, admin, expires_at=soon.isoformat())

    answer = await eventually(
        lambda: web.get("/orders/", headers=bearer(created)), lambda found: found.is_error
    )

    assert problem(answer) == (401, "token-expired")
    assert datetime.now(UTC) >= soon


# --- wrong keys, limits, use ----------------------------------------------------------------------


async def test_a_wrong_key_does_not_tell_whether_it_is_one_and_is_limited(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    key = await new_key(web_engine)
    wrong = {"Authorization": f"Bearer {random_key(UUID(key.user_id))}"}
    unknown = {"Authorization": f"Bearer {random_key(uuid4())}"}
    mistyped = {"Authorization": key.headers["Authorization"][:-1] + "!"}

    answers = [await web.get("/orders/", headers=headers) for headers in (wrong, unknown, mistyped)]
    guesses = [(await web.get("/orders/", headers=wrong)).status_code for _ in range(6)]

    documents = [{**a.json(), "instance": "", "request_id": ""} for a in answers]
    assert documents[0] == documents[1] == documents[2]
    assert problem(answers[0]) == (401, "token-invalid")
    assert guesses == [401, 401, 401, 401, 429, 429]
    assert (await web.get("/orders/", headers=unknown)).status_code == 401


async def test_who_guesses_elsewhere_locks_nobody_out(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    """A key in use is served from memory, whatever is guessed."""
    key = await new_key(web_engine)
    wrong = {"Authorization": f"Bearer {random_key(UUID(key.user_id))}"}
    assert (await web.get("/orders/", headers=key.headers)).status_code == 200

    guesses = [(await web.get("/orders/", headers=wrong)).status_code for _ in range(6)]

    assert guesses[-1] == 429
    assert (await web.get("/orders/", headers=key.headers)).status_code == 200


async def test_a_key_has_a_limit_of_its_own_in_place_of_its_address(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    async with serving_with(settings, RATE_LIMIT="30/hour") as web:
        small = await new_key(web_engine, rate_limit="3/hour")
        large = await new_key(web_engine, rate_limit="1000/hour")

        path = "/users/" + str(uuid4()) + "/summary/"
        few = [(await web.get(path, headers=small.headers)).status_code for _ in range(5)]
        many = [(await web.get(path, headers=large.headers)).status_code for _ in range(60)]
        last = await web.get(path, headers=large.headers)
        # A key lifts no limit where no key is needed.
        login = {"username": "ann@example.com", "password": PASSWORD}
        logins = [
            (await web.post("/token/", data=login, headers=large.headers)).status_code
            for _ in range(4)
        ]

    assert few == [404, 404, 404, 429, 429]
    assert set(many) == {404}
    assert last.headers["ratelimit-policy"] == '"reads-key";q=1000;w=3600'
    assert logins == [401, 401, 401, 429]


async def test_the_last_use_is_recorded_once_a_minute(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    key = await new_key(web_engine)

    async def use() -> Any:
        await web.get("/orders/", headers=key.headers)
        return await row_of(web_engine, key.user_id)

    first = await eventually(use, lambda row: row.last_used_at is not None)
    writes = "SELECT xmin::text FROM api_keys WHERE id = :id"
    seen = set()
    ends_at = time.monotonic() + 1.5
    while time.monotonic() < ends_at:
        last = await use()
        async with web_engine.connect() as connection:
            found = await connection.execute(text(writes), {"id": UUID(key.user_id)})
            seen.add(found.scalar_one())

    assert first.last_used_at.second == first.last_used_at.microsecond == 0
    minutes = (last.last_used_at - first.last_used_at) // timedelta(minutes=1)
    assert len(seen) == 1 + minutes


# --- what a key does ------------------------------------------------------------------------------


async def test_a_key_names_the_owner_and_only_the_shop_sees_which_key_it_was(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, staff: Account
) -> None:
    key = await new_key(web_engine)
    nobodys = await place(web, key)
    order = await place(web, key, user_id=owner.user_id)

    async def actor(reader: Account) -> dict[str, str]:
        events = await act(web, reader, order, "events/", method="GET")
        found: dict[str, str] = events.json()["events"][0]["actor"]
        return found

    assert problem(nobodys) == (422, "validation")
    assert nobodys.json()["errors"][0]["pointer"] == "#/user_id"
    assert order.status_code == 201
    assert order.json()["user_id"] == owner.user_id
    assert await actor(staff) == await actor(key) == {"type": "key", "id": key.user_id}
    assert await actor(owner) == {"type": "key"}


async def test_prices_need_a_scope_of_their_own(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    key = await new_key(web_engine, "orders:read", "orders:write", acts_for=owner)
    order = await place(web, owner)

    placed = await place(web, key)
    added = await act(web, key, order, "lines/", {**ITEMS[0], "sku": "CAP"})
    fewer = await act(web, key, order, "lines/1/", {"quantity": 1}, method="PATCH")

    assert problem(placed) == problem(added) == (403, "insufficient-scope")
    assert placed.json()["required_scope"] == added.json()["required_scope"] == "orders:price"
    assert fewer.status_code == 200


async def test_idempotency_keys_and_references_are_the_key_s_own(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, other: Account
) -> None:
    one, two = await new_key(web_engine), await new_key(web_engine)

    async def post(key: Account, user: Account, name: str, reference: str) -> httpx.Response:
        body = {"items": ITEMS, "user_id": user.user_id, "external_reference": reference}
        headers = {**key.headers, "Idempotency-Key": name}
        return await web.post("/orders/", json=body, headers=headers)

    first = await post(one, owner, "cart-1", "web-1")
    repeat = await post(one, owner, "cart-1", "web-1")
    others = await post(two, owner, "cart-1", "web-1")
    taken = await post(one, other, "cart-2", "web-1")
    free = await post(one, other, "cart-3", "web-2")

    assert [first.status_code, repeat.status_code, others.status_code] == [201, 201, 201]
    assert repeat.content == first.content
    assert others.json()["id"] != first.json()["id"]
    assert problem(taken) == (409, "duplicate-reference")
    assert taken.json()["existing_order"] == first.json()["id"]
    assert free.status_code == 201


async def test_a_key_for_one_user_sees_and_does_as_that_user(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    owner: Account,
    other: Account,
    staff: Account,
) -> None:
    key = await new_key(web_engine, acts_for=owner)
    order = await place(web, key)
    strangers = await place(web, other)
    await act(web, staff, order, "notes/", {"text": "Is he real?", "visibility": "internal"})

    notes = await act(web, key, order, "notes/", method="GET")
    internal = await act(web, key, order, "notes/", {"text": "x", "visibility": "internal"})

    assert order.json()["user_id"] == owner.user_id
    assert notes.json() == []
    assert problem(internal) == (403, "forbidden")
    assert problem(await act(web, key, strangers, "", method="GET")) == (404, "order-not-found")
    assert problem(await place(web, key, user_id=other.user_id)) == (403, "forbidden")
    assert problem(await web.get("/orders/", headers=key.headers)) == (403, "forbidden")
