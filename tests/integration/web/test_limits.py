"""Rate limits over HTTP, on a Redis that works, is down, or hangs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.asyncio import Redis

from order_service.main import create_app
from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.conftest import serving
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import WAIT_S, eventually

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
HELD_UP_S = 1.0  # more than a busy machine takes, less than any time-out of Redis (2 s)
CREDENTIALS = {"email": "ann@example.com", "password": "correct horse battery staple"}


@pytest.fixture
def limited(settings: Settings) -> Settings:
    """By the hour, so that hardly a test runs across the end of a window."""
    return settings.model_copy(update={"RATE_LIMIT": "10/hour"})


async def statuses(client: httpx.AsyncClient, times: int, path: str = "/users/me/") -> list[int]:
    return [(await client.get(path)).status_code for _ in range(times)]


@asynccontextmanager
async def loop_lag() -> AsyncIterator[list[float]]:
    """How much later than asked the event loop came back, in seconds, while the block ran."""
    lags: list[float] = []

    async def probe() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - started - 0.005)

    task = asyncio.create_task(probe())
    try:
        yield lags
    finally:
        task.cancel()


async def test_the_documentation_is_limited_too(redis: Redis, limited: Settings) -> None:
    """Hundreds of KB for a request of a line, and for everybody."""
    async with serving(create_app(limited)) as client:
        assert await statuses(client, 11, "/openapi.json") == [200] * 10 + [429]
        assert await statuses(client, 1, "/docs/swagger-ui-bundle.js") == [429]


async def test_an_address_is_limited_before_it_is_known_who_calls(
    redis: Redis, limited: Settings
) -> None:
    async with serving(create_app(limited)) as client:
        assert await statuses(client, 10) == [401] * 10

        response = await client.get("/users/me/")

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == QUOTA_EXCEEDED
    assert response.json()["violated-policies"] == ["reads-address"]
    assert 0 < int(response.headers["retry-after"]) <= 3600
    assert response.headers["ratelimit-policy"] == '"reads-address";q=10;w=3600'
    assert response.headers["ratelimit"].startswith('"reads-address";r=0;t=')


async def test_addresses_that_do_not_exist_count_too(redis: Redis, limited: Settings) -> None:
    async with serving(create_app(limited)) as client:
        found = [await statuses(client, 1, f"/search/{n}") for n in range(11)]

    assert found == [[404]] * 10 + [[429]]


async def test_a_user_is_limited_from_all_addresses_together(
    redis: Redis, limited: Settings
) -> None:
    async with serving(create_app(limited)) as client:
        await client.post("/register/", json=CREDENTIALS)
        token = (await client.post("/token/", json=CREDENTIALS)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert await statuses(client, 6) == [200] * 6

        elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(
            base_url=client.base_url, headers=client.headers, transport=elsewhere
        ) as second:
            assert await statuses(second, 4) == [200] * 4
            response = await second.get("/users/me/")

    assert response.status_code == 429
    assert response.json()["violated-policies"] == ["reads-user"]
    assert '"reads-address";r=5' in response.headers["ratelimit"]


@pytest.mark.parametrize("path", ["/register/", "/token/", "/token/refresh/"])
async def test_account_endpoints_allow_a_tenth(redis: Redis, limited: Settings, path: str) -> None:
    async with serving(create_app(limited)) as client:
        first = await client.post(path, json={})
        second = await client.post(path, json={})

    assert (first.status_code, second.status_code) == (422, 429)


async def test_two_processes_share_one_limit(redis: Redis, limited: Settings) -> None:
    """The other process learns within an interval of its first request: a few pass until then."""
    async with serving(create_app(limited)) as first, serving(create_app(limited)) as second:
        assert await statuses(first, 10) == [401] * 10

        passed = 0
        async with asyncio.timeout(WAIT_S):
            while (await second.get("/users/me/")).status_code != 429:
                passed += 1
                await asyncio.sleep(0.6)

    assert passed <= 3


async def test_what_is_counted_expires(redis: Redis, limited: Settings) -> None:
    async with serving(create_app(limited)) as client:
        await client.get("/users/me/")
        keys = await eventually(lambda: redis.keys("rate:*"))

    assert 0 < await redis.ttl(keys[0]) <= 3605


async def test_a_foreign_value_under_our_key_does_no_harm(redis: Redis, limited: Settings) -> None:
    hour = int(time.time() // 3600)
    await redis.set(f"rate:LIMITER/reads-address/127.0.0.1/10/1/hour:{hour}", "poison")
    async with serving(create_app(limited)) as client:
        assert await statuses(client, 5) == [401] * 5
        await asyncio.sleep(0.3)

        assert await statuses(client, 6) == [401] * 5 + [429]


async def test_without_redis_each_process_counts_alone(limited: Settings) -> None:
    down = limited.model_copy(update={"REDIS_HOST": "127.0.0.1", "REDIS_PORT": free_port()})

    async with serving(create_app(down)) as client, loop_lag() as lags:
        found = await statuses(client, 11)
        await asyncio.sleep(0.5)

    assert found == [401] * 10 + [429]
    assert max(lags) < HELD_UP_S


async def test_a_hung_redis_holds_nobody_up(redis: Redis, limited: Settings) -> None:
    async with proxy_to(limited.REDIS_HOST, limited.REDIS_PORT) as proxy:
        proxied = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": proxy.port}
        async with serving(create_app(limited.model_copy(update=proxied))) as client:
            await client.get("/users/me/")
            proxy.replies = False
            slowest = 0.0
            async with loop_lag() as lags:
                for n in range(40):
                    started = time.perf_counter()
                    status = (await client.get("/users/me/")).status_code
                    slowest = max(slowest, time.perf_counter() - started)
                    assert status == (401 if n < 9 else 429)
                    await asyncio.sleep(0.02)
            await asyncio.wait_for(proxy.swallowed.wait(), WAIT_S)

    assert slowest < HELD_UP_S
    assert max(lags) < HELD_UP_S


async def test_redis_is_used_again_when_it_answers_again(redis: Redis, limited: Settings) -> None:
    async with proxy_to(limited.REDIS_HOST, limited.REDIS_PORT) as proxy:
        proxied = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": proxy.port}
        async with serving(create_app(limited.model_copy(update=proxied))) as client:
            proxy.replies = False
            await client.get("/users/me/")
            await asyncio.wait_for(proxy.swallowed.wait(), WAIT_S)
            proxy.replies = True
            proxy.cut()

            async with asyncio.timeout(WAIT_S):
                while not await redis.keys("rate:LIMITER/other-address/*"):
                    await client.get("/nothing-here")
                    await asyncio.sleep(0.2)
