"""What tests of the desk do beside the browser, as curl could."""

from typing import Any

import httpx

from tests.orders import ITEMS


def place(api: httpx.Client, **more: Any) -> dict[str, Any]:
    """An order of the staff's own."""
    answer = api.post("/orders/", json={"items": ITEMS, **more}).raise_for_status()
    placed: dict[str, Any] = answer.json()
    return placed


def change(api: httpx.Client, order: dict[str, Any], status: str) -> None:
    api.patch(f"/orders/{order['id']}/", json={"status": status}).raise_for_status()


def status_of(api: httpx.Client, order: dict[str, Any]) -> str:
    found: str = api.get(f"/orders/{order['id']}/").raise_for_status().json()["status"]
    return found
