"""P7: every route times everybody who may come: one table, held against the routes themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts.api_keys import SCOPES, Scope
from order_service.accounts.tokens import AccessTokens
from order_service.domain.events import OrderHeld, OrderPaid, PaymentCaptured, PaymentReversed
from order_service.main import create_app
from order_service.settings import Settings
from tests.contract.walk import ADDRESS, CONTACT, ITEMS
from tests.support.http.accounts import PASSWORD, Account, new_account, new_key
from tests.support.log.examples import NEW_ID, PLACED
from tests.support.log.given_log import given_order
from tests.support.log.lives import (
    AUTHORIZED,
    IS_DELIVERED,
    IS_PENDING,
    IS_RETURNED,
    IS_SENT_BACK,
    IS_SHIPPED,
    PAYMENT,
    REFUND,
    RETURN,
    Events,
)
from tests.support.values import replace

IS_ASKED_BACK: Events = IS_SENT_BACK[:-1]
IS_AUTHORIZED: Events = (*IS_PENDING, AUTHORIZED)
HOLD = UUID(int=77)
IS_HELD: Events = (*IS_PENDING, OrderHeld(HOLD, "OTHER"))
IS_CAPTURED: Events = (*IS_PENDING, PaymentCaptured(PAYMENT, 2498, "manual"), OrderPaid(2498, 2498))
IS_REVERSED: Events = (*IS_CAPTURED, PaymentReversed(PAYMENT, 2498, "BOUNCE"))
FORBIDDEN, UNSEEN, OK = 403, 404, 200


@dataclass(frozen=True)
class May:
    """What the owner of what is asked for, somebody else and staff are answered. `order`: events of
    the order it is about. Commands are dry runs: each finds the order as the one before did."""

    owner: int = OK
    other: int = UNSEEN
    staff: int = OK
    admin: int | None = None  # as staff
    order: Events = IS_PENDING
    body: Any = None
    query: Mapping[str, str] | None = None


def staffs(order: Events, body: Any) -> May:
    """A command for staff: its owner may know that there is an order to forbid it on."""
    return May(FORBIDDEN, order=order, body=body)


def owners(order: Events, body: Any) -> May:
    return May(order=order, body=body)


RANGE = {"from": "2026-01-01", "to": "2026-01-31"}
STAFF_ONLY = May(FORBIDDEN, FORBIDDEN)
ADMIN_ONLY = May(FORBIDDEN, FORBIDDEN, FORBIDDEN, admin=UNSEEN)
LINE = {"sku": "CAP-2", "quantity": 1, "unit_price": "3.00"}
PEN = [{"line_id": 1, "quantity": 1}]
ORDER = "/orders/{order_id}/"
ROUTES = {
    "GET /users/me/": May(OK, OK),
    "GET /users/{user_id}/summary/": May(OK, FORBIDDEN),
    "GET /orders/user/{user_id}/": May(OK, FORBIDDEN),
    "GET /orders/": STAFF_ONLY,
    "GET /orders/export/": STAFF_ONLY,
    "GET /reports/sales/": replace(STAFF_ONLY, query=RANGE),
    "GET /events/stream": STAFF_ONLY,
    "GET /ops/projections/": STAFF_ONLY,
    "GET /ops/dead-letters/": STAFF_ONLY,
    "GET /ops/health/": STAFF_ONLY,
    "GET /ops/history/": STAFF_ONLY,
    "POST /ops/projections/{name}/rollback/": replace(STAFF_ONLY, staff=UNSEEN),
    "POST /ops/projections/{name}/rebuild/": replace(STAFF_ONLY, staff=UNSEEN),
    "POST /ops/dead-letters/{letter_id}/retry/": replace(STAFF_ONLY, staff=UNSEEN),
    "POST /ops/dead-letters/{letter_id}/skip/": replace(
        STAFF_ONLY, staff=UNSEEN, body={"reason": "never meant"}
    ),
    "GET /ops/board/": STAFF_ONLY,
    "GET /ops/board/stream": STAFF_ONLY,
    "GET /ops/sales/": replace(
        STAFF_ONLY, query={"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    ),
    "POST /stream-tickets/": May(OK, OK),
    "POST /api-keys/": replace(
        ADMIN_ONLY, admin=201, body={"name": "shop", "scopes": ["orders:read"]}
    ),
    "GET /api-keys/": replace(ADMIN_ONLY, admin=OK),
    "GET /api-keys/{key_id}/": ADMIN_ONLY,
    "PATCH /api-keys/{key_id}/": replace(ADMIN_ONLY, body={"name": "shop"}),
    "POST /api-keys/{key_id}/rotate/": ADMIN_ONLY,
    "DELETE /api-keys/{key_id}/": ADMIN_ONLY,
    "POST /orders/": May(OK, OK, body={"items": ITEMS}),
    "POST /orders/bulk/": May(OK, OK, body={"orders": [{"items": ITEMS}]}),
    f"GET {ORDER}": May(),
    f"GET {ORDER}stream": May(),
    f"GET {ORDER}events/": May(),
    f"GET {ORDER}diff/": May(query={"from": "0", "to": "1"}),
    f"GET {ORDER}notes/": May(),
    f"GET {ORDER}shipping-address/": May(UNSEEN, UNSEEN, UNSEEN),  # the order has none
    f"GET {ORDER}billing-address/": May(UNSEEN, UNSEEN, UNSEEN),
    f"GET {ORDER}contact/": May(UNSEEN, UNSEEN, UNSEEN),
    f"GET {ORDER}actions/": May(),
    f"PATCH {ORDER}": owners(IS_PENDING, {"status": "CANCELED"}),
    f"PUT {ORDER}shipping-address/": owners(IS_PENDING, ADDRESS),
    f"PUT {ORDER}billing-address/": owners(IS_SHIPPED, ADDRESS),
    f"PUT {ORDER}contact/": owners(IS_SHIPPED, CONTACT),
    f"PATCH {ORDER}metadata/": staffs(IS_SHIPPED, {"metadata": {"channel": "web"}}),
    f"PUT {ORDER}tags/": staffs(IS_SHIPPED, {"tags": ["gift"]}),
    f"POST {ORDER}notes/": owners(IS_PENDING, {"text": "Ring twice."}),
    f"POST {ORDER}lines/": owners((replace(PLACED, prices_trusted=False),), LINE),
    f"PATCH {ORDER}lines/{{line_id}}/": owners(IS_PENDING, {"quantity": 3}),
    f"DELETE {ORDER}lines/{{line_id}}/": owners(IS_PENDING, None),
    f"POST {ORDER}cancel/": owners(IS_PENDING, {"reason": "CUSTOMER_REQUEST"}),
    f"POST {ORDER}lines/{{line_id}}/cancel/": staffs(
        IS_PENDING, {"quantity": 1, "reason": "OUT_OF_STOCK"}
    ),
    f"POST {ORDER}holds/": staffs(IS_PENDING, {"reason": "OTHER"}),
    f"POST {ORDER}holds/{{hold_id}}/release/": staffs(IS_HELD, {}),
    f"POST {ORDER}edit/": staffs(IS_PENDING, {"shipping_fee": "1.00"}),
    f"POST {ORDER}payments/": staffs(IS_PENDING, {"kind": "capture"}),
    f"POST {ORDER}payments/{{payment_id}}/capture/": staffs(IS_AUTHORIZED, {}),
    f"POST {ORDER}payments/{{payment_id}}/void/": staffs(IS_AUTHORIZED, {}),
    f"POST {ORDER}payments/{{payment_id}}/fail/": staffs(IS_AUTHORIZED, {"code": "declined"}),
    f"POST {ORDER}payments/{{payment_id}}/reverse/": staffs(IS_CAPTURED, {"kind": "BOUNCE"}),
    f"POST {ORDER}payments/{{payment_id}}/restore/": staffs(IS_REVERSED, {}),
    f"POST {ORDER}shipments/": staffs(IS_SHIPPED[:-2], {}),
    f"PATCH {ORDER}shipments/{{shipment_id}}/": staffs(IS_SHIPPED, {"tracking_number": "T-1"}),
    f"POST {ORDER}shipments/{{shipment_id}}/void/": staffs(IS_SHIPPED, {"reason": "LOST"}),
    f"POST {ORDER}shipments/{{shipment_id}}/delivered/": staffs(IS_SHIPPED, {}),
    f"POST {ORDER}refunds/": staffs(IS_SHIPPED, {"amount": "1.00", "reason": "GOODWILL"}),
    f"POST {ORDER}refunds/{{refund_id}}/settle/": staffs(IS_RETURNED, {}),
    f"POST {ORDER}refunds/{{refund_id}}/fail/": staffs(IS_RETURNED, {"code": "closed"}),
    f"POST {ORDER}returns/": May(  # the owner's time for it is over
        409, order=IS_DELIVERED, body={"lines": PEN, "reason": "OTHER"}
    ),
    f"POST {ORDER}returns/{{return_id}}/cancel/": owners(IS_ASKED_BACK, {}),
    f"POST {ORDER}returns/{{return_id}}/approve/": staffs(IS_ASKED_BACK, {}),
    f"POST {ORDER}returns/{{return_id}}/reject/": staffs(IS_ASKED_BACK, {}),
    f"POST {ORDER}returns/{{return_id}}/receive/": staffs(IS_SENT_BACK, {}),
}
# The scope that a key needs for a route; None: the route is for people.
_R: Scope = "orders:read"
_W: Scope = "orders:write"
_P: Scope = "payments:write"
_F: Scope = "fulfillment:write"
_B: Scope = "returns:write"
ROUTE_SCOPES: dict[str, Scope | None] = {
    "GET /users/me/": None,
    "POST /stream-tickets/": None,
    "POST /api-keys/": None,
    "GET /api-keys/": None,
    "GET /api-keys/{key_id}/": None,
    "PATCH /api-keys/{key_id}/": None,
    "POST /api-keys/{key_id}/rotate/": None,
    "DELETE /api-keys/{key_id}/": None,
    "GET /users/{user_id}/summary/": "reports:read",
    "GET /reports/sales/": "reports:read",
    "GET /ops/sales/": "reports:read",
    "GET /events/stream": "events:read",
    "GET /ops/projections/": "ops",
    "GET /ops/dead-letters/": "ops",
    "GET /ops/health/": "ops",
    "GET /ops/history/": "ops",
    "POST /ops/projections/{name}/rollback/": "ops",
    "POST /ops/projections/{name}/rebuild/": "ops",
    "POST /ops/dead-letters/{letter_id}/retry/": "ops",
    "POST /ops/dead-letters/{letter_id}/skip/": "ops",
    "GET /orders/user/{user_id}/": _R,
    "GET /orders/": _R,
    "GET /orders/export/": _R,
    "GET /ops/board/": _R,
    "GET /ops/board/stream": _R,
    f"GET {ORDER}": _R,
    f"GET {ORDER}stream": _R,
    f"GET {ORDER}events/": _R,
    f"GET {ORDER}diff/": _R,
    f"GET {ORDER}notes/": _R,
    f"GET {ORDER}shipping-address/": _R,
    f"GET {ORDER}billing-address/": _R,
    f"GET {ORDER}contact/": _R,
    f"GET {ORDER}actions/": _R,
    "POST /orders/": _W,
    "POST /orders/bulk/": _W,
    f"PATCH {ORDER}": _W,
    f"PUT {ORDER}shipping-address/": _W,
    f"PUT {ORDER}billing-address/": _W,
    f"PUT {ORDER}contact/": _W,
    f"PATCH {ORDER}metadata/": _W,
    f"PUT {ORDER}tags/": _W,
    f"POST {ORDER}notes/": _W,
    f"POST {ORDER}lines/": _W,
    f"PATCH {ORDER}lines/{{line_id}}/": _W,
    f"DELETE {ORDER}lines/{{line_id}}/": _W,
    f"POST {ORDER}cancel/": _W,
    f"POST {ORDER}lines/{{line_id}}/cancel/": _W,
    f"POST {ORDER}holds/": "orders:write",
    f"POST {ORDER}holds/{{hold_id}}/release/": "orders:write",
    f"POST {ORDER}edit/": "orders:price",
    f"POST {ORDER}payments/": _P,
    f"POST {ORDER}payments/{{payment_id}}/capture/": _P,
    f"POST {ORDER}payments/{{payment_id}}/void/": _P,
    f"POST {ORDER}payments/{{payment_id}}/fail/": _P,
    f"POST {ORDER}payments/{{payment_id}}/reverse/": _P,
    f"POST {ORDER}payments/{{payment_id}}/restore/": _P,
    f"POST {ORDER}refunds/": _P,
    f"POST {ORDER}refunds/{{refund_id}}/settle/": _P,
    f"POST {ORDER}refunds/{{refund_id}}/fail/": _P,
    f"POST {ORDER}shipments/": _F,
    f"PATCH {ORDER}shipments/{{shipment_id}}/": _F,
    f"POST {ORDER}shipments/{{shipment_id}}/void/": _F,
    f"POST {ORDER}shipments/{{shipment_id}}/delivered/": _F,
    f"POST {ORDER}returns/": _B,
    f"POST {ORDER}returns/{{return_id}}/cancel/": _B,
    f"POST {ORDER}returns/{{return_id}}/approve/": _B,
    f"POST {ORDER}returns/{{return_id}}/reject/": _B,
    f"POST {ORDER}returns/{{return_id}}/receive/": _B,
}
# They know no caller: what they tell or take, they tell and take from anybody.
PUBLIC = {
    *("POST /register/", "POST /token/", "POST /token/refresh/", "POST /token/revoke/"),
    "POST /orders/lookup/",
    *("GET /problems/{slug}", "GET /healthz", "GET /readyz"),
    "GET /version",
    *("GET /docs", "GET /docs/start.js", "GET /docs/{name}", "GET /openapi.json"),
    *("GET /desk", "GET /desk/{name:path}"),
}
PARTS = {
    "line_id": 1,
    "payment_id": PAYMENT,
    "hold_id": HOLD,
    "shipment_id": NEW_ID,
    "refund_id": REFUND,
    "return_id": RETURN,
    "name": "none",
    "letter_id": "none",
    "key_id": NEW_ID,
}


def test_every_route_is_in_the_table_or_public(settings: Settings) -> None:
    served = {
        f"{method} {context.path}"
        for context in iter_route_contexts(create_app(settings).routes)
        for method in context.methods or ()
    }

    assert {route for route in served if not route.startswith("HEAD ")} == {*ROUTES, *PUBLIC}


@pytest.fixture
async def callers(
    web: httpx.AsyncClient, web_engine: AsyncEngine, settings: Settings
) -> dict[str, tuple[str, dict[str, str]]]:
    """User id and headers of everybody who may come."""
    owner, other = await new_account(web_engine), await new_account(web_engine)
    staff = await new_account(web_engine, role="staff")
    admin = await new_account(web_engine, role="admin")
    login = await web.post("/token/", data={"username": staff.email, "password": PASSWORD})
    past = AccessTokens(settings)
    past.lifetime_s = -60
    tokens = {
        "expired": past.issue(UUID(staff.user_id), "staff"),
        "refresh": login.json()["refresh_token"],
    }
    known = {"owner": owner, "other": other, "staff": staff, "admin": admin}
    return {
        **{name: (account.user_id, account.headers) for name, account in known.items()},
        **{name: ("", {"Authorization": f"Bearer {token}"}) for name, token in tokens.items()},
        "anonymous": ("", {}),
    }


async def test_everybody_is_answered_as_the_table_says(
    web: httpx.AsyncClient, web_engine: AsyncEngine, callers: dict[str, tuple[str, dict[str, str]]]
) -> None:
    owner = callers["owner"][0]
    orders: dict[str, UUID] = {}
    wrong = []
    for route, may in ROUTES.items():
        if (key := repr(may.order)) not in orders:
            first, *others = may.order
            events = (replace(first, user_id=UUID(owner)), *others)
            orders[key] = await given_order(web_engine, *events)
        expected = {"owner": may.owner, "other": may.other, "staff": may.staff}
        expected["admin"] = may.staff if may.admin is None else may.admin
        for name, (_, headers) in callers.items():
            ids = {"order_id": orders[key], "user_id": owner, **PARTS}
            found = await status(web, route.format(**ids), may, headers)
            if found != expected.get(name, 401):
                wrong.append(f"{route} {name}: {found}, expected {expected.get(name, 401)}")
    assert wrong == []


async def test_a_key_does_what_its_scopes_say_and_nothing_else(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, other: Account
) -> None:
    """With the one scope as staff do, but for prices, which have a scope of their own; with all
    other scopes not at all; and for another user nothing of this one's."""
    only = {scope: await new_key(web_engine, scope, "orders:price") for scope in SCOPES}
    without = {
        scope: await new_key(web_engine, *(s for s in SCOPES if s != scope)) for scope in SCOPES
    }
    everything = await new_key(web_engine)
    strangers = await new_key(web_engine, acts_for=other)
    wrong = []
    assert ROUTE_SCOPES.keys() == ROUTES.keys()
    for route, scope in ROUTE_SCOPES.items():
        may, ids = await placed_for(web_engine, route, owner)
        path = route.format(**ids)
        found = {"everything": await status(web, path, may, everything.headers)}
        expected = {"everything": FORBIDDEN}
        if scope is not None:
            found["stranger"] = await status(web, path, may, strangers.headers)
            found["only"] = await status(web, path, may, only[scope].headers)
            found["without"] = await status(web, path, may, without[scope].headers)
            expected = {"everything": may.staff, "only": may.staff, "without": FORBIDDEN}
            expected["stranger"] = UNSEEN if ORDER in route else FORBIDDEN
            if route == "POST /orders/bulk/":  # each order has an answer of its own
                expected["stranger"] = OK
            if scope == "ops" and may.staff != OK:
                expected["stranger"] = FORBIDDEN
        wrong += [
            f"{route} {name}: {status}, expected {expected[name]}"
            for name, status in found.items()
            if status != expected[name]
        ]
    assert wrong == []


async def placed_for(
    web_engine: AsyncEngine, route: str, owner: Account
) -> tuple[May, dict[str, object]]:
    """What is asked of a route, for an order of the owner's, and the ids in its path."""
    may = ROUTES[route]
    first, *others = may.order
    events = (replace(first, user_id=UUID(owner.user_id)), *others)
    order_id = await given_order(web_engine, *events)
    body = may.body
    if route == "POST /orders/":
        body = {**body, "user_id": owner.user_id}
    elif route == "POST /orders/bulk/":
        body = {"orders": [{**one, "user_id": owner.user_id} for one in body["orders"]]}
    return replace(may, body=body), {"order_id": order_id, "user_id": owner.user_id, **PARTS}


async def status(web: httpx.AsyncClient, route: str, may: May, headers: Mapping[str, str]) -> int:
    """Of the answer's head: some go on for ever."""
    method, _, path = route.partition(" ")
    dry = method != "GET" and path.startswith("/orders/")
    query = may.query or ({"dry_run": "true"} if dry else {})
    async with web.stream(method, path, params=query, headers=headers, json=may.body) as answer:
        return answer.status_code
