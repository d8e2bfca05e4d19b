"""API keys over HTTP, for tests."""

from typing import Any

import httpx

from tests.support.http.accounts import Account


async def create(web: httpx.AsyncClient, admin: Account, **body: Any) -> httpx.Response:
    wanted = {"name": "shop", "scopes": ["orders:read", "orders:write", "orders:price"], **body}
    return await web.post("/api-keys/", json=wanted, headers=admin.headers)


def bearer(created: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {created.json()['key']}"}
