"""API keys over HTTP: made, shown once, narrowed, rotated, revoked; what each process knows of
them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
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
from order_service.stack.servers import free_port
from tests.conftest import serving_with
from tests.support.http.accounts import PASSWORD, Account, new_account, new_key
from tests.support.http.orders import ITEMS, act, place, problem
from tests.support.http.sse import listening
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import eventually

PROMISED_S = 2.0


@dataclass(frozen=True)
class Two:
    """Two web processes on one database, without Redis."""

    webs: tuple[httpx.AsyncClient, httpx.AsyncClient]
    admin: Account
    owner: Account


@pytest.fixture
async def two(settings: Settings, redis: Redis, web_engine: AsyncEngine) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        without = {"REDIS_PORT": str(free_port())}
        webs = [
            await stack.enter_async_context(serving_with(settings, **without)) for _ in range(2)
        ]
        admin = await new_account(webs[0], web_engine, role="admin")
        owner = await new_account(webs[0], web_engine)
        yield Two((webs[0], webs[1]), admin, owner)


@pytest.fixture
async def admin(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine, role="admin")


async def create(web: httpx.AsyncClient, admin: Account, **body: Any) -> httpx.Response:
    wanted = {"name": "shop", "scopes": ["orders:read", "orders:write", "orders:price"], **body}
    return await web.post("/api-keys/", json=wanted, headers=admin.headers)


def bearer(created: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {created.json()['key']}"}


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
    refused = {"scopes": again, "expires_at": later, "": nothing}
    for member, answer in refused.items():
        assert problem(answer) == (422, "validation")
        assert answer.json()["errors"][0]["pointer"] == (f"#/{member}" if member else "#")
    assert problem(for_ever) == (422, "validation")
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


# --- in every process -----------------------------------------------------------------------------


async def refused(
    web: httpx.AsyncClient, send: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
) -> tuple[httpx.Response, float]:
    """The first refusal, and when (by `time.monotonic`) the last request was sent that was not."""
    accepted_at = 0.0
    while True:
        sent_at = time.monotonic()
        answer = await send(web)
        if answer.is_error:
            return answer, accepted_at
        accepted_at = sent_at


async def test_a_revoked_key_is_refused_in_every_process_within_two_seconds(two: Two) -> None:
    created = await create(two.webs[0], two.admin, acts_for=two.owner.user_id)
    headers = bearer(created)
    order = await two.webs[0].post("/orders/", json={"items": ITEMS}, headers=headers)

    async def read(web: httpx.AsyncClient) -> httpx.Response:
        return await web.get(order.headers["location"], headers=headers)

    assert [(await read(web)).status_code for web in two.webs] == [200, 200]
    await two.webs[0].delete(created.headers["location"], headers=two.admin.headers)
    revoked_at = time.monotonic()
    found = await asyncio.gather(*(refused(web, read) for web in two.webs))

    assert [problem(answer) for answer, _ in found] == [(401, "token-invalid")] * 2
    assert found[0][1] == 0.0, "the process that revoked it has forgotten it at once"
    assert 0.0 < found[1][1] < revoked_at + PROMISED_S


async def test_a_narrowed_key_loses_the_scope_in_every_process_within_two_seconds(
    two: Two,
) -> None:
    created = await create(two.webs[0], two.admin, acts_for=two.owner.user_id)
    headers = bearer(created)

    async def post(web: httpx.AsyncClient) -> httpx.Response:
        return await web.post("/orders/", json={"items": ITEMS}, headers=headers)

    assert [(await post(web)).status_code for web in two.webs] == [201, 201]
    await two.webs[0].patch(
        created.headers["location"], json={"scopes": ["orders:read"]}, headers=two.admin.headers
    )
    narrowed_at = time.monotonic()
    found = await asyncio.gather(*(refused(web, post) for web in two.webs))

    assert [problem(answer) for answer, _ in found] == [(403, "insufficient-scope")] * 2
    assert [answer.json()["required_scope"] for answer, _ in found] == ["orders:write"] * 2
    assert max(at for _, at in found) < narrowed_at + PROMISED_S
    path = "/orders/user/" + two.owner.user_id
    assert (await two.webs[1].get(path, headers=headers)).status_code == 200


async def test_a_key_is_rotated_under_load_without_a_failed_request(two: Two) -> None:
    created = await create(two.webs[0], two.admin, acts_for=two.owner.user_id)
    path, present = created.headers["location"], [bearer(created)]
    statuses: list[int] = []
    done = asyncio.Event()

    async def work(web: httpx.AsyncClient) -> None:
        while not done.is_set():
            posted = await web.post("/orders/", json={"items": ITEMS}, headers=present[-1])
            read = await web.get(posted.headers["location"], headers=present[0])
            statuses.extend((posted.status_code, read.status_code))

    async with asyncio.TaskGroup() as group:
        for web in two.webs * 2:
            group.create_task(work(web))
        await eventually(lambda: len(statuses) > 40)
        rotated = await two.webs[0].post(
            f"{path}rotate/", json={"overlap": "PT1H"}, headers=two.admin.headers
        )
        present.append(bearer(rotated))
        at_rotation = len(statuses)
        await eventually(lambda: len(statuses) > at_rotation + 400)
        done.set()

    assert rotated.json()["id"] == created.json()["id"]
    assert rotated.json()["key"] != created.json()["key"]
    assert set(statuses) == {200, 201}


async def test_the_key_before_a_rotation_ends_with_the_overlap(two: Two) -> None:
    created = await create(two.webs[0], two.admin)
    rotate = f"{created.headers['location']}rotate/"
    old = bearer(created)

    async def read(web: httpx.AsyncClient) -> httpx.Response:
        return await web.get("/orders/", headers=old)

    overlap = {"overlap": "PT1S"}
    rotated = await two.webs[0].post(rotate, json=overlap, headers=two.admin.headers)
    rotated_at = time.monotonic()
    answer, accepted_at = await refused(two.webs[1], read)
    at_once = await two.webs[0].post(rotate, json={"overlap": "PT0S"}, headers=two.admin.headers)
    too_long = await two.webs[0].post(rotate, json={"overlap": "P8D"}, headers=two.admin.headers)

    assert problem(answer) == (401, "token-expired")
    assert 0.0 < accepted_at < rotated_at + 1.0 + PROMISED_S
    assert problem(await two.webs[0].get("/orders/", headers=bearer(rotated)))[0] == 401
    assert (await read(two.webs[0])).status_code == 401
    assert (await two.webs[1].get("/orders/", headers=bearer(at_once))).status_code == 200
    assert problem(too_long) == (422, "validation")


async def test_without_the_database_a_key_is_refused_as_unknown_yet(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    """The order is in the cache, which would serve it for ever."""
    async with (
        proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy,
        serving_with(settings, DB_HOST="127.0.0.1", DB_PORT=str(proxy.port)) as web,
    ):
        owner = await new_account(web, web_engine)
        key = await new_key(web_engine, acts_for=owner)
        order = await place(web, key)

        async def read() -> httpx.Response:
            return await web.get(order.headers["location"], headers=key.headers)

        await eventually(read, lambda found: found.headers["x-cache"] == "hit")
        proxy.reset()
        answer = await eventually(read, lambda found: found.is_error)
        cached = await web.get(order.headers["location"], headers=owner.headers)
        proxy.heal()
        back = await eventually(read, lambda found: found.is_success)

    assert problem(answer) == (503, "dependency-unavailable")
    assert cached.headers["x-cache"] == back.headers["x-cache"] == "hit"


async def test_a_stream_ends_with_its_key(web: httpx.AsyncClient, admin: Account) -> None:
    created = await create(web, admin, scopes=["events:read", "orders:read"])
    async with listening(web, "/events/stream", bearer(created)) as reader:
        await web.patch(
            created.headers["location"], json={"scopes": ["orders:read"]}, headers=admin.headers
        )
        narrowed_at = time.monotonic()

        assert await reader.take(1) == []
        assert time.monotonic() < narrowed_at + 30, "long before its lifetime of 15 minutes"


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
