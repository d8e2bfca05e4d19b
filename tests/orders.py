"""Orders placed and changed over HTTP, for tests of what that answers."""

from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.accounts import Account

ITEMS = [
    {"sku": "PEN", "name": "Pen", "quantity": 2, "unit_price": "9.99"},
    {"sku": "INK", "quantity": 1, "unit_price": 5},
]


async def stored_events(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM events"))).scalar_one())


async def place(web: httpx.AsyncClient, who: Account, **body: Any) -> httpx.Response:
    return await web.post("/orders/", json={"items": ITEMS, **body}, headers=who.headers)


async def change(
    web: httpx.AsyncClient, who: Account, order: httpx.Response, headers: Any = None, **body: Any
) -> httpx.Response:
    return await web.patch(
        f"/orders/{order.json()['id']}/", json=body, headers={**who.headers, **(headers or {})}
    )
