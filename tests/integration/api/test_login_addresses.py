"""Who guesses a password elsewhere locks nobody out; an address that looks alike is another one."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import PASSWORD, new_account
from tests.support.http.orders import problem

HOME, ELSEWHERE, NEW = "198.51.100.7", "203.0.113.9", "192.0.2.1"


@pytest.fixture
async def shop(settings: Settings, redis: Redis) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_with(settings, TRUSTED_PROXIES="127.0.0.1/32") as web:
        yield web


async def log_in(
    web: httpx.AsyncClient, email: str, password: str, host: str = HOME
) -> httpx.Response:
    form = {"username": email, "password": password}
    return await web.post("/token/", data=form, headers={"X-Forwarded-For": host})


async def test_the_owner_gets_in_while_somebody_guesses_elsewhere(
    shop: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    owner = await new_account(web_engine)
    before = await log_in(shop, owner.email, PASSWORD)

    guesses, logins = [], []
    for number in range(30):
        guesses.append(await log_in(shop, owner.email, f"wrong-{number}", ELSEWHERE))
        if number % 5 == 4:
            logins.append(await log_in(shop, owner.email, PASSWORD))
    unknown = await log_in(shop, owner.email, PASSWORD, NEW)

    assert before.status_code == 200
    assert [guess.status_code for guess in guesses[:5]] == [401] * 5
    assert guesses[-1].status_code == 429
    assert [login.status_code for login in logins] == [200] * 6
    assert unknown.status_code == 429  # the price of a limit for the account


async def test_guesses_at_home_are_limited_too(
    shop: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    owner = await new_account(web_engine)
    await log_in(shop, owner.email, PASSWORD)

    # Ten, since a minute may end among them.
    guesses = [await log_in(shop, owner.email, f"wrong-{number}") for number in range(10)]

    assert [guess.status_code for guess in guesses[:5]] == [401] * 5
    assert guesses[-1].status_code == 429


@pytest.mark.parametrize(
    ("registered", "same", "alike"),
    [
        ("gro\xdf@example.com", "GRO\xdf@example.com", "gross@example.com"),
        ("jos\xe9@example.com", "jose\u0301@example.com", "jo\u017f\xe9@example.com"),
    ],
)
async def test_an_address_that_looks_alike_neither_logs_in_nor_registers(
    shop: httpx.AsyncClient, registered: str, same: str, alike: str
) -> None:
    account = {"email": registered, "password": PASSWORD}
    await shop.post("/register/", json=account)

    logins = [await log_in(shop, email, PASSWORD) for email in (registered, same, alike)]
    second = await shop.post("/register/", json={"email": alike, "password": PASSWORD})

    assert [login.status_code for login in logins] == [200, 200, 401]
    assert problem(second) == (409, "email-taken")
