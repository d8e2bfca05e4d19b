"""The query routes: parse, call one query, answer. May import the read models and api."""

import re
from datetime import date, timedelta
from typing import Annotated, Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Header, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from order_service import settings as limits
from order_service.accounts import users
from order_service.api.answers import PRIVATE, json_answer
from order_service.api.identity import Caller, CallerDependency
from order_service.api.lookup import OrderId
from order_service.api.problems import Problem, documented, validation
from order_service.cache import Lease, OrderCache
from order_service.cache_entries import CachedList
from order_service.db import query
from order_service.domain.money import to_text
from order_service.domain.state import Status
from order_service.errors import OrderNotFound
from projections import customer_summary, order_view, sales_by_day
from projections.cursors import LENGTH_MAX, Cursors, Position
from projections.order_reader import OrderReader

router = APIRouter(tags=["queries"])

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_STATUSES = get_args(Status)


# --- one order ------------------------------------------------------------------------------------


@router.get(
    "/orders/{order_id}/",
    operation_id="orders_get",
    responses={304: {"description": "Not Modified"}, **documented(401, 404, 429, 503)},
)
async def get_order(
    request: Request,
    order_id: OrderId,
    caller: CallerDependency,
    if_none_match: Annotated[list[str] | None, Header()] = None,
) -> Response:
    """An order as it is now: never older than any answer to a command that was given before.

    `Order-Stale: true` marks an order whose last events the running version cannot read.
    """
    reader: OrderReader = request.app.state.order_reader
    order, cache_use = await reader.read(order_id)
    # Decided on the owner in what was loaded, and alike for what does not exist.
    if order is None or not (caller.is_staff or order.owner == caller.user_id):
        raise OrderNotFound("with this id")
    headers = PRIVATE | {"X-Cache": cache_use}
    if order.stale:
        headers["Order-Stale"] = "true"
        return Response(order.document, 200, headers, "application/json")
    headers["ETag"] = f'"{order.version}"'
    if if_none_match and _matches(",".join(if_none_match), order.version):
        return Response(status_code=304, headers=headers)
    return Response(order.document, 200, headers, "application/json")


def _matches(if_none_match: str, version: int) -> bool:
    """Weak comparison (RFC 9110, 13.1.2): a proxy that compresses may have weakened the tag."""
    return if_none_match.strip() == "*" or str(version) in _ETAG.findall(if_none_match)


# --- a user's orders ------------------------------------------------------------------------------


@router.get(
    "/orders/user/{user_id}/",
    operation_id="orders_list_of_user",
    responses=documented(400, 401, 403, 404, 422, 429, 503),
)
async def list_orders(
    request: Request,
    user_id: UUID,
    caller: CallerDependency,
    status: Annotated[str | None, Query(description="Any of these, comma separated.")] = None,
    limit: Annotated[int, Query(ge=1, le=limits.LIST_LIMIT_MAX)] = limits.LIST_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=LENGTH_MAX)] = None,
) -> Response:
    """A user's orders, newest first; `Link` with `rel="next"` leads to the next page."""
    _owner_or_staff(caller, user_id)
    statuses = _statuses(status)
    cache: OrderCache = request.app.state.cache
    first_page = not statuses and cursor is None and limit == limits.LIST_LIMIT_DEFAULT
    found = await cache.look_up_list(user_id) if first_page else None
    if isinstance(found, CachedList):
        return _list_answer(found, "hit")
    page = await _read_page(request, user_id, statuses, limit, cursor)
    if page.page == b"[]" and cursor is None and user_id != caller.user_id:
        await _check_user(request, user_id)
    if isinstance(found, Lease):
        await cache.fill_list(user_id, found, page)
    return _list_answer(page, "miss" if found else "bypass")


async def _read_page(
    request: Request, user_id: UUID, statuses: tuple[str, ...], limit: int, cursor: str | None
) -> CachedList:
    cursors = Cursors(request.app.state.settings.SECRET_KEY)
    filters = f"{user_id} {','.join(statuses)}"
    before = cursors.decode(cursor, filters) if cursor else None

    async def read(connection: AsyncConnection) -> tuple[bytes, list[Row[Any]]]:
        read_at = await order_view.read_at(connection)
        rows = await order_view.list_orders(connection, user_id, limit + 1, statuses, before)
        return read_at, rows

    read_at, rows = await query(request.app.state.engine, read)
    link = ""
    if len(rows) > limit:
        rows = rows[:limit]
        last: Position = (rows[-1].created_at, rows[-1].order_id)
        link = _next_link(user_id, statuses, limit, cursors.encode(last, filters))
    page = b"[" + b",".join(row.document for row in rows) + b"]"
    return CachedList(read_at, link, page)


def _next_link(user_id: UUID, statuses: tuple[str, ...], limit: int, cursor: str) -> str:
    parameters: dict[str, Any] = {"status": ",".join(statuses)} if statuses else {}
    parameters |= {"limit": limit, "cursor": cursor}
    return f'</orders/user/{user_id}/?{urlencode(parameters, safe=",")}>; rel="next"'


def _list_answer(page: CachedList, cache_use: str) -> Response:
    headers = PRIVATE | {"X-Cache": cache_use}
    if page.link:
        headers["Link"] = page.link
    return Response(page.page, 200, headers, "application/json")


def _statuses(status: str | None) -> tuple[str, ...]:
    """In one order, so that a cursor does not depend on how they were written."""
    if status is None:
        return ()
    named = {name.strip() for name in status.split(",")}
    if not named <= set(_STATUSES):
        raise _invalid("status", f"Expected any of {', '.join(_STATUSES)}, comma separated.")
    return tuple(sorted(named))


async def _check_user(request: Request, user_id: UUID) -> None:
    """Staff who ask for somebody who does not exist are told so."""
    if await users.find(request.app.state.engine, user_id) is None:
        raise Problem(404, "not-found", "There is no such user.")


# --- reports --------------------------------------------------------------------------------------


@router.get(
    "/users/{user_id}/summary/",
    operation_id="users_summary",
    responses=documented(401, 403, 404, 422, 429, 503),
)
async def get_summary(request: Request, user_id: UUID, caller: CallerDependency) -> Response:
    """What a user has ordered and spent (captured, less what is or will be refunded), per
    currency."""
    _owner_or_staff(caller, user_id)
    engine = request.app.state.engine
    rows = await query(engine, lambda c: customer_summary.summary(c, user_id))
    if not rows and user_id != caller.user_id:
        await _check_user(request, user_id)
    currencies = [
        {
            "currency": row.currency,
            "orders": row.orders,
            "spent": to_text(int(row.spent_minor), row.currency),
            "last_order_at": row.last_order_at,
            "last_order_id": str(row.last_order_id),
        }
        for row in rows
    ]
    return json_answer({"user_id": user_id, "currencies": currencies}, headers=PRIVATE)


@router.get(
    "/reports/sales/",
    operation_id="reports_sales",
    responses=documented(401, 403, 422, 429, 503),
)
async def report_sales(
    request: Request,
    caller: CallerDependency,
    first: Annotated[str, Query(alias="from", pattern=_DAY, description="UTC day, included")],
    last: Annotated[str, Query(alias="to", pattern=_DAY, description="UTC day, included")],
) -> Response:
    """Orders, revenue and units per day, currency and present status. For staff."""
    if not caller.is_staff:
        raise _forbidden("Reports are for staff.")
    days = (_day("from", first), _day("to", last))
    if not timedelta(0) <= days[1] - days[0] < timedelta(limits.REPORT_DAYS_MAX):
        raise _invalid("to", f"Expected 1 to {limits.REPORT_DAYS_MAX} days, both ends included.")
    rows = await query(request.app.state.engine, lambda c: sales_by_day.report(c, *days))
    sales = [
        {
            "day": row.day,
            "currency": row.currency,
            "status": row.status,
            "orders": row.orders,
            "revenue": to_text(int(row.revenue_minor), row.currency),
            "units": row.units,
        }
        for row in rows
    ]
    return json_answer({"from": days[0], "to": days[1], "sales": sales}, headers=PRIVATE)


def _day(parameter: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise _invalid(parameter, "There is no such day.") from None


def _owner_or_staff(caller: Caller, user_id: UUID) -> None:
    if not caller.is_staff and caller.user_id != user_id:
        raise _forbidden("This belongs to somebody else.")


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail, required_role="staff")


def _invalid(parameter: str, detail: str) -> Problem:
    error = {"msg": detail, "loc": ("query", parameter), "type": "value_error"}
    return validation([error], "parameter")
