"""Each problem type is provoked once; its status and headers are those of the catalogue.

The client's hook checks the members against the OpenAPI document, as for all answers.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.accounts.tokens import AccessTokens
from order_service.domain.events import OrderNoteAdded
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web.problems.catalogue import CATALOGUE, type_of
from tests.conftest import serving
from tests.support.http.accounts import PASSWORD, Account, new_account, new_key
from tests.support.log.given_log import append_events

PEN = {"sku": "PEN", "quantity": 2, "unit_price": "9.99"}
ONE = {"lines": [{"line_id": 1, "quantity": 1}]}
# These need a broken server, a bug, another setting or a race: they have their own tests.
ELSEWHERE = {
    *("dependency-unavailable", "internal-error", "order-unreadable", "outcome-unknown"),
    *("not-acceptable", "overloaded", "precondition-required", "quota-exceeded"),
    *("header-fields-too-large", "rebuild-running", "request-timeout", "too-many-api-keys"),
}


@dataclass(frozen=True)
class Request:
    """`{...}` in path, headers and body: values of `_prepare`."""

    method: str
    path: str
    body: Any = None
    caller: str = "staff"
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None


PROVOKED: dict[str, Request] = {
    "already-shipped": Request("POST", "/orders/{shipped}/cancel/", {"reason": "FRAUD"}),
    "amount-exceeds-due": Request(
        "POST", "/orders/{pending}/payments/", {"kind": "capture", "amount": "20"}
    ),
    "authentication-required": Request("GET", "/users/me/", caller="anonymous"),
    "cancel-window-closed": Request(
        "POST", "/orders/{paid}/cancel/", {"reason": "DUPLICATE"}, "owner"
    ),
    "concurrent-update": Request(
        "PATCH", "/orders/{pending}/", {"status": "PAID", "expected_version": 9}
    ),
    "content-too-large": Request("POST", "/register/", content=b" " * 300_000),
    "discount-exceeds-goods": Request("POST", "/orders/", {"items": [PEN], "discount": "999"}),
    "duplicate-reference": Request(
        "POST", "/orders/", {"items": [PEN], "external_reference": "web-1"}, "owner"
    ),
    "email-taken": Request("POST", "/register/", {"email": "{email}", "password": PASSWORD}),
    "forbidden": Request("GET", "/orders/", caller="owner"),
    "idempotency-key-invalid": Request(
        "POST", "/orders/", {"items": [PEN]}, headers={"Idempotency-Key": ""}
    ),
    "idempotency-key-reused": Request(
        "POST", "/orders/", {"items": [PEN, PEN]}, "owner", {"Idempotency-Key": "k"}
    ),
    "invalid-credentials": Request("POST", "/token/", {"email": "a@b.example", "password": "x"}),
    "invalid-cursor": Request("GET", "/orders/user/{user}/?cursor=x"),
    "invalid-transition": Request("PATCH", "/orders/{pending}/", {"status": "DELIVERED"}),
    "last-line": Request("DELETE", "/orders/{pending}/lines/1/"),
    "line-not-found": Request("DELETE", "/orders/{pending}/lines/7/"),
    "malformed-request": Request("POST", "/orders/", content=b"{"),
    "method-not-allowed": Request("PUT", "/orders/"),
    "not-found": Request("GET", "/users/{pending}/summary/"),
    "nothing-to-ship": Request("POST", "/orders/{shipped}/shipments/", {}),
    "order-full": Request("POST", "/orders/{full}/notes/", {"text": "More."}, "owner"),
    "order-not-editable": Request("DELETE", "/orders/{paid}/lines/1/"),
    "order-on-hold": Request("POST", "/orders/{on_hold}/shipments/", {}),
    "order-not-found": Request("GET", "/orders/{user}/"),
    "capture-reference-required": Request(
        "POST",
        "/orders/{held}/payments/",
        {"kind": "capture", "source": "provider", "amount": "1", "provider_reference": "auth_1"},
    ),
    "payment-captured": Request("POST", "/orders/{paid}/payments/{payment}/fail/", {"code": "x"}),
    "payment-not-capturable": Request("POST", "/orders/{paid}/payments/{payment}/capture/", {}),
    "payment-not-voidable": Request("POST", "/orders/{paid}/payments/{payment}/void/", {}),
    "payment-reference-conflict": Request(
        "POST",
        "/orders/{paid}/payments/",
        {"kind": "capture", "amount": "1", "provider_reference": "pay_1"},
    ),
    "payment-required": Request("PATCH", "/orders/{pending}/", {"status": "SHIPPED"}),
    "prices-not-trusted": Request("POST", "/orders/{priced}/lines/", PEN, "owner"),
    "projection-lagging": Request(
        "GET",
        "/orders/",
        headers={"Consistency-Token": "{token}", "Prefer": "handling=strict, wait=0"},
    ),
    "quantity-exceeds-outstanding": Request(
        "POST", "/orders/{paid}/shipments/", {"lines": [{"line_id": 1, "quantity": 3}]}
    ),
    "refresh-superseded": Request("POST", "/token/refresh/", {"refresh_token": "{used}"}),
    "refund-exceeds-captured": Request(
        "POST", "/orders/{pending}/refunds/", {"reason": "GOODWILL"}
    ),
    "refund-not-pending": Request(
        "POST", "/orders/{delivered}/refunds/{refund}/fail/", {"code": "x"}
    ),
    "reversal-exceeds-captured": Request(
        "POST", "/orders/{paid}/payments/{payment}/reverse/", {"kind": "BOUNCE", "amount": "999"}
    ),
    "return-not-pending": Request("POST", "/orders/{delivered}/returns/{return}/approve/", {}),
    "return-window-closed": Request(
        "POST", "/orders/{delivered}/returns/", ONE | {"reason": "OTHER"}, "owner"
    ),
    "rollback-impossible": Request("POST", "/ops/projections/order_view/rollback/"),
    "shipment-delivered": Request(
        "POST", "/orders/{delivered}/shipments/{shipment}/void/", {"reason": "LOST"}
    ),
    "stale-version": Request(
        "PATCH", "/orders/{paid}/", {"status": "SHIPPED"}, headers={"If-Match": '"1"'}
    ),
    "status-not-settable": Request("PATCH", "/orders/{pending}/", {"status": "RETURNED"}),
    "token-expired": Request("GET", "/users/me/", headers={"Authorization": "Bearer {expired}"}),
    "token-invalid": Request("GET", "/users/me/", headers={"Authorization": "Bearer x"}),
    "total-mismatch": Request("POST", "/orders/", {"items": [PEN], "total_price": "1"}),
    "unknown-currency": Request("POST", "/orders/", {"items": [PEN], "currency": "XXX"}),
    "unsupported-grant-type": Request("POST", "/token/", {"grant_type": "implicit"}),
    "unsupported-media-type": Request(
        "POST", "/orders/", content=b"x", headers={"Content-Type": "text/plain"}
    ),
    "insufficient-scope": Request("POST", "/orders/", {"items": [PEN]}, "key"),
    "validation": Request("POST", "/orders/", {"items": []}),
}


@pytest.fixture
async def shop(
    settings: Settings, web_engine: AsyncEngine, redis: Redis
) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose time windows for owners end at once."""
    closed = {"CUSTOMER_CANCEL_WINDOW": timedelta(0), "RETURN_WINDOW": timedelta(0)}
    changed = settings.model_copy(update=closed | {"RATE_LIMIT": "1000000/minute"})
    async with serving(create_app(changed)) as web:
        yield web


async def test_each_problem_type_is_answered_as_documented(
    shop: httpx.AsyncClient, web_engine: AsyncEngine, settings: Settings
) -> None:
    people = {
        "owner": await new_account(web_engine),
        "staff": await new_account(web_engine, "staff"),
        "key": await new_key(web_engine, "orders:read"),
    }
    known = await _prepare(shop, people, settings)
    known["full"] = await _full_order(shop, people["owner"], web_engine)
    assert set(PROVOKED) == set(CATALOGUE) - ELSEWHERE

    answers = {
        slug: await _send(shop, people, known, request) for slug, request in PROVOKED.items()
    }

    served = {slug: (a.status_code, a.json()["type"]) for slug, a in answers.items()}
    assert served == {slug: (CATALOGUE[slug].status, type_of(slug)) for slug in PROVOKED}
    missing = [
        (slug, name)
        for slug, answer in answers.items()
        for name in CATALOGUE[slug].headers
        if name not in answer.headers
    ]
    assert missing == []


async def test_staff_can_complete_an_order_that_its_owner_has_filled(
    shop: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    owner = await new_account(web_engine)
    staff = await new_account(web_engine, "staff")
    path = f"/orders/{await _full_order(shop, owner, web_engine)}/cancel/"

    refused = await shop.post(path, json={"reason": "CUSTOMER_REQUEST"}, headers=owner.headers)
    canceled = await shop.post(path, json={"reason": "CUSTOMER_REQUEST"}, headers=staff.headers)

    assert refused.json()["type"] == type_of("order-full")
    assert canceled.json()["status"] == "CANCELED"


async def _full_order(web: httpx.AsyncClient, owner: Account, engine: AsyncEngine) -> str:
    """An order with as many events as its owner may cause."""
    placed = (await web.post("/orders/", json={"items": [PEN]}, headers=owner.headers)).json()
    order_id = UUID(placed["id"])
    notes = [OrderNoteAdded(uuid4(), "public", uuid4())] * (limits.ORDER_EVENTS_OWNER_MAX - 1)
    async with engine.begin() as connection:
        await append_events(connection, order_id, 1, notes)
    return str(order_id)


async def _send(
    web: httpx.AsyncClient, people: dict[str, Account], known: dict[str, str], request: Request
) -> httpx.Response:
    headers = {} if request.caller == "anonymous" else dict(people[request.caller].headers)
    if request.body is not None or request.content is not None:
        headers["Content-Type"] = "application/json"
    headers |= {name: value.format(**known) for name, value in request.headers.items()}
    body = request.body
    if isinstance(body, dict):
        body = {k: v.format(**known) if isinstance(v, str) else v for k, v in body.items()}
    path = request.path.format(**known)
    return await web.request(
        request.method,
        path,
        headers=headers,
        **({"json": body} if request.content is None and body is not None else {}),
        **({"content": request.content} if request.content is not None else {}),
    )


async def _prepare(
    web: httpx.AsyncClient, people: dict[str, Account], settings: Settings
) -> dict[str, str]:
    """Places orders in four states. Returns ids and other values for `Request`, by name."""
    owner, staff = people["owner"].headers, people["staff"].headers

    async def post(path: str, body: Any, headers: dict[str, str] = staff) -> Any:
        return (await web.post(path, json=body, headers=headers)).raise_for_status().json()

    placed = await web.post(
        "/orders/",
        json={"items": [PEN], "external_reference": "web-1"},
        headers=owner | {"Idempotency-Key": "k"},
    )
    known = {
        "user": people["owner"].user_id,
        "email": people["owner"].email,
        "token": placed.headers["consistency-token"],
        "pending": placed.json()["id"],
        "expired": AccessTokens(
            settings.model_copy(update={"ACCESS_TOKEN_EXPIRE_MINUTES": -10})
        ).issue(UUID(people["owner"].user_id), "customer"),
    }
    for state in ("paid", "shipped", "delivered"):
        known[state] = (await post("/orders/", {"items": [PEN]}, owner))["id"]
        pay = {"kind": "capture", "provider_reference": "pay_1"}
        order = await post(f"/orders/{known[state]}/payments/", pay)
        known.setdefault("payment", order["payments"][0]["id"])
        if state != "paid":
            order = await post(f"/orders/{known[state]}/shipments/", {})
    known["held"] = (await post("/orders/", {"items": [PEN]}, owner))["id"]
    hold = {"kind": "authorization", "provider_reference": "auth_1"}
    await post(f"/orders/{known['held']}/payments/", hold)
    known["on_hold"] = (await post("/orders/", {"items": [PEN]}, owner))["id"]
    await post(f"/orders/{known['on_hold']}/payments/", {"kind": "capture"})
    await post(f"/orders/{known['on_hold']}/holds/", {"reason": "OTHER"})
    for_owner = {"items": [PEN], "user_id": people["owner"].user_id}
    known["priced"] = (await post("/orders/", for_owner))["id"]
    path = f"/orders/{known['delivered']}"
    known["shipment"] = order["shipments"][0]["id"]
    await post(f"{path}/shipments/{known['shipment']}/delivered/", {})
    order = await post(f"{path}/returns/", ONE | {"reason": "OTHER"})
    known["return"] = order["returns"][0]["id"]
    await post(f"{path}/returns/{known['return']}/approve/", {})
    order = await post(f"{path}/refunds/", {"amount": "1", "reason": "GOODWILL"})
    known["refund"] = order["refunds"][0]["id"]
    await post(f"{path}/refunds/{known['refund']}/settle/", {})
    login = {"email": people["owner"].email, "password": PASSWORD}
    known["used"] = (await post("/token/", login))["refresh_token"]
    await post("/token/refresh/", {"refresh_token": known["used"]})
    return known
