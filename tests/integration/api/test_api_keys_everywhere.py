"""API keys in all processes: revoked, narrowed and rotated at one, they end or go on at each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account, new_key
from tests.support.http.api_keys import bearer, create
from tests.support.http.orders import ITEMS, place, problem
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
        admin = await new_account(web_engine, role="admin")
        owner = await new_account(web_engine)
        yield Two((webs[0], webs[1]), admin, owner)


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
        owner = await new_account(web_engine)
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


async def test_a_stream_ends_with_its_key(web: httpx.AsyncClient, web_engine: AsyncEngine) -> None:
    admin = await new_account(web_engine, role="admin")
    created = await create(web, admin, scopes=["events:read", "orders:read"])
    async with listening(web, "/events/stream", bearer(created)) as reader:
        await web.patch(
            created.headers["location"], json={"scopes": ["orders:read"]}, headers=admin.headers
        )
        narrowed_at = time.monotonic()

        assert await reader.take(1) == []
        assert time.monotonic() < narrowed_at + 30, "long before its lifetime of 15 minutes"
