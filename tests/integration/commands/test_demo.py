"""The demo's shop on a running web process: every life goes to its end, within the limits."""

import asyncio
from collections.abc import AsyncIterator
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
from tests.conftest import serving_with
from tests.support.http.accounts import PASSWORD

STAYS = {  # where the lives that get stuck leave their orders
    "never_paid": ("PENDING", "UNPAID"),
    "never_shipped": ("PAID", "PAID"),
    "half_shipped": ("PARTIALLY_SHIPPED", "PAID"),
    "on_its_way": ("SHIPPED", "PAID"),
    "refund_failed": ("CANCELED", "OVERPAID"),
}


@asynccontextmanager
async def shop_at(
    web: httpx.AsyncClient, engine: AsyncEngine, customers: int = 2
) -> AsyncIterator[Shop]:
    """A shop that is open; its orders begin one life of each kind in turn."""
    kinds = cycle(LIVES)
    client = Client(str(web.base_url), print)
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


async def test_where_no_service_is_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("order_service.limits.RECONNECT_BACKOFF_S", ())

    with pytest.raises(NoAnswer, match="is it up"):
        Client("http://127.0.0.1:1", print).send("GET", "/healthz")
