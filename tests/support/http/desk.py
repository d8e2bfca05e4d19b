"""What tests of the desk do beside the browser, as curl could."""

from typing import Any

import httpx

from tests.support.http.orders import ITEMS


def placed(api: httpx.Client, *, listed: bool = False, **more: Any) -> dict[str, Any]:
    """An order of one's own. `listed`: staff's, which every list has."""
    answer = api.post("/orders/", json={"items": ITEMS, **more}).raise_for_status()
    order: dict[str, Any] = (_listed(api, answer) if listed else answer).json()
    return order


def place_many(api: httpx.Client, count: int, sku: str) -> None:
    """Orders of the article; every list has them."""
    items = [{"sku": sku, "quantity": 1, "unit_price": "1.00"}]
    _listed(api, api.post("/orders/bulk/", json={"orders": [{"items": items}] * count}))


def changed(api: httpx.Client, order: dict[str, Any], status: str) -> None:
    """By staff; every list shows it, so that no page has to be looked at twice."""
    _listed(api, api.patch(f"/orders/{order['id']}/", json={"status": status}))


def status_of(api: httpx.Client, order: dict[str, Any]) -> str:
    found: str = api.get(f"/orders/{order['id']}/").raise_for_status().json()["status"]
    return found


def _listed(api: httpx.Client, answer: httpx.Response) -> httpx.Response:
    token = answer.raise_for_status().headers["consistency-token"]
    headers = {"Consistency-Token": token, "Prefer": "wait=10, handling=strict"}
    api.get("/orders/", params={"limit": 1}, headers=headers).raise_for_status()
    return answer
