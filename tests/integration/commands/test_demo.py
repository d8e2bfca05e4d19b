"""The demo's shop on a running web process: every life goes to its end, within the limits."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from random import Random

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts.users import create_user
from order_service.demo.client import Client, Limit, NoAnswer
from order_service.demo.lives import LIVES
from order_service.demo.shop import Shop
from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.conftest import ROOT, serving_with
from tests.support.http.accounts import PASSWORD
from tests.support.servers.proxy import proxy_to

STAYS = {  # where the lives that get stuck leave their orders
    "never_paid": ("PENDING", "UNPAID"),
    "never_shipped": ("PAID", "PAID"),
    "half_shipped": ("PARTIALLY_SHIPPED", "PAID"),
    "on_its_way": ("SHIPPED", "PAID"),
    "refund_failed": ("CANCELED", "OVERPAID"),
}


@asynccontextmanager
async def shop_at(
    web: httpx.AsyncClient,
    engine: AsyncEngine,
    customers: int = 2,
    say: Callable[[str], None] = print,
) -> AsyncIterator[Shop]:
    """A shop that is open; its orders begin one life of each kind in turn."""
    kinds = cycle(LIVES)
    client = Client(str(web.base_url), say)
    shop = Shop(client, Random(1), lambda _: next(kinds))
    staff = shop.staff_account(PASSWORD)
    await create_user(engine, staff.email, PASSWORD, "staff")
    try:
        await asyncio.to_thread(shop.open, customers)
        yield shop
    finally:
        client.close()


async def test_every_life_goes_to_its_end(web: httpx.AsyncClient, web_engine: AsyncEngine) -> None:
    async with shop_at(web, web_engine) as shop:
        await asyncio.to_thread(shop.place_many, len(LIVES))
        orders = {living.kind: (living.customer, living.order_id) for living in shop.living}
        while shop.living:
            await asyncio.to_thread(shop.go_on, len(LIVES))

    assert dict(shop.counts.problems) == {}
    assert shop.counts.ended == dict.fromkeys((kind.__name__ for kind in LIVES), 1)
    stay = {}
    for kind in STAYS:
        customer, order_id = orders[kind]
        headers = {"Authorization": f"Bearer {customer.token}"}
        order = (await web.get(f"/orders/{order_id}/", headers=headers)).json()
        stay[kind] = (order["status"], order["payment_status"])
    assert stay == STAYS


async def test_it_waits_where_the_limit_is_reached_and_knows_what_it_allows(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    async with (
        serving_with(settings, RATE_LIMIT="1/second") as web,
        shop_at(web, web_engine, customers=1) as shop,
    ):
        await asyncio.to_thread(shop.place)
        await asyncio.to_thread(shop.place)

    assert shop.placed == 2
    assert shop.client.repeated >= 1
    assert shop.client.limit == Limit(quota=1, window_s=1)
    assert shop.client.limit.rate == pytest.approx(0.8)


async def run_demo(settings: Settings, *options: str) -> tuple[int | None, str]:
    """The word as an operator runs it: its exit code, and what it says."""
    words = ("-m", "order_service.cli", "demo", *options)
    given = {name: str(value) for name, value in settings.model_dump(mode="json").items()}
    servers = {name: given[name] for name in ("DB_HOST", "DB_PORT", "DB_NAME")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=ROOT,
        env={**os.environ, **servers},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    said = await process.stderr.read()
    return await process.wait(), said.decode()


async def test_where_nothing_listens_it_says_so_in_one_sentence(settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    code, said = await run_demo(settings, "--url", url)

    assert code == 1
    assert said == (
        f"Nothing listens at {url} ([Errno 111] Connection refused): start the service with "
        "`./entrypoint.sh up`, or name a running one with --url.\n"
    )


async def test_where_the_database_is_away_it_says_so_in_one_sentence(
    web: httpx.AsyncClient, settings: Settings
) -> None:
    away = settings.model_copy(update={"DB_PORT": free_port()})

    code, said = await run_demo(away, "--url", str(web.base_url))

    assert code == 1
    assert said == (
        f"PostgreSQL at {away.DB_HOST}:{away.DB_PORT} does not serve the demo "
        "(ConnectionRefusedError): `./entrypoint.sh doctor` says what is wrong.\n"
    )


async def test_it_goes_on_when_a_service_that_answered_503_serves_again(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    pauses: list[str] = []

    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        there = {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port)}
        async with (
            serving_with(settings, **there) as web,
            shop_at(web, web_engine, customers=1, say=pauses.append) as shop,
        ):
            proxy.reset()
            placing = asyncio.create_task(asyncio.to_thread(shop.place))
            async with asyncio.timeout(30):
                while not pauses:  # a pause of a second or more is said
                    await asyncio.sleep(0.01)
            proxy.heal()
            await placing

    assert shop.placed == 1
    assert pauses[0].startswith("503 dependency-unavailable: The database ")
    assert pauses[0].endswith(" Waiting 1 s.")


async def test_a_service_that_stays_busy_ends_it_after_a_bounded_time(
    settings: Settings, redis: Redis, web_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.DEMO_PATIENCE_S", 0.5)

    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        there = {"DB_HOST": "127.0.0.1", "DB_PORT": str(proxy.port)}
        async with (
            serving_with(settings, **there) as web,
            shop_at(web, web_engine, customers=1) as shop,
        ):
            proxy.reset()
            with pytest.raises(NoAnswer) as error:
                await asyncio.to_thread(shop.place)

    said = str(error.value)
    assert said.startswith(f"{web.base_url} does not serve the demo (503 dependency-unavailable: ")
    assert said.endswith("): `./entrypoint.sh doctor` says what is wrong.")
