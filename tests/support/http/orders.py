"""Orders placed and changed over HTTP, for tests of what that answers."""

from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.http.accounts import Account

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


async def act(
    web: httpx.AsyncClient,
    who: Account,
    order: httpx.Response,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: Any = None,
    **parameters: str,
) -> httpx.Response:
    """A command below the order; without a body where there is none."""
    content = {} if body is None else {"json": body}
    return await web.request(
        method,
        f"/orders/{order.json()['id']}/{path}",
        params=parameters,
        headers={**who.headers, **(headers or {})},
        **content,
    )


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and slug."""
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")
