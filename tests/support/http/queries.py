"""Orders placed, changed and read over HTTP, for tests of queries."""

from typing import Any

import httpx

from tests.support.http.accounts import Account
from tests.support.http.orders import place

PENS = [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]


async def new_order(web: httpx.AsyncClient, who: Account, **body: Any) -> dict[str, Any]:
    """The document of a new order, of two pens unless `body` has other items."""
    answer = await place(web, who, **{"items": PENS, **body})
    order: dict[str, Any] = answer.raise_for_status().json()
    return order


async def set_status(
    web: httpx.AsyncClient, who: Account, order_id: str, status: str
) -> httpx.Response:
    answer = await web.patch(f"/orders/{order_id}/", json={"status": status}, headers=who.headers)
    return answer.raise_for_status()


async def get(
    web: httpx.AsyncClient, who: Account, path: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await web.get(path, headers={**who.headers, **(headers or {})})


async def walk(web: httpx.AsyncClient, who: Account, path: str) -> list[list[str]]:
    """The ids of every page, following Link."""
    pages = []
    while path:
        answer = await get(web, who, path)
        assert answer.status_code == 200
        pages.append([order["id"] for order in answer.json()])
        path = answer.links["next"]["url"] if "link" in answer.headers else ""
    return pages
