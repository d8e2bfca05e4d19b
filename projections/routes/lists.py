"""The query routes of order lists: all orders, and a user's."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.cache.order_cache import CachedList, Lease, OrderCache
from order_service.documents.order import Order
from order_service.documents.order_list import OrderPage, Total
from order_service.telemetry.metrics import READS
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented
from order_service.web.responses import PRIVATE, json_answer
from projections.queries import order_list
from projections.queries.cursors import Cursor, Cursors
from projections.queries.filters import Conditions, ListParameters, StaffListParameters
from projections.queries.freshness import (
    LAGGING,
    Freshness,
    Wanted,
    read_progress,
    required_progress,
    shows,
)
from projections.queries.order_list import Page, count, read_page, search, summary
from projections.read_models import order_view
from projections.routes.access import UserPath, check_user, owner_or_staff, staff_only
from projections.routes.consistency import WantedDependency

router = APIRouter()
_UNFILTERED = ListParameters()


# --- all orders -----------------------------------------------------------------------------------


@router.get(
    "/orders/",
    operation_id="orders_list",
    summary="List orders of all users",
    response_model=OrderPage,
    responses=documented("invalid-cursor", "forbidden", may_send=LAGGING, scopes=("orders:read",)),
)
async def list_all(
    request: Request,
    caller: CallerDependency,
    wanted: WantedDependency,
    parameters: Annotated[StaffListParameters, Query()],
) -> Response:
    """Orders of all users, as flat summaries, newest first unless `sort` says otherwise. For staff.

    `next_cursor` and `prev_cursor` lead to the pages around this one, with the same filters.
    """
    staff_only(caller, "orders:read")
    cursors, cursor = _cursors(request, "all", parameters)
    where = await search(
        request.app.state.engine, request.app.state.settings, parameters, parameters.user_id
    )

    async def read(connection: AsyncConnection) -> tuple[Page, int | None]:
        await required_progress(connection, order_view.PROJECTION)
        page = await read_page(
            connection, order_list.SUMMARY, where, parameters.sort, parameters.limit, cursor
        )
        return page, await count(connection, where) if parameters.include else None

    (page, total), headers = await _freshness(request).read(order_view.NAME, wanted, read)
    found = OrderPage(
        items=[summary(row) for row in page.rows],
        next_cursor=cursors.encode(page.after) if page.after else None,
        prev_cursor=cursors.encode(page.before) if page.before else None,
        has_more=page.after is not None,
        total=UNSET if total is None else _total(total),
    )
    return json_answer(found, headers=PRIVATE | headers)


def _total(counted: int) -> Total:
    if counted > limits.LIST_TOTAL_MAX:
        return Total(limits.LIST_TOTAL_MAX, "gte")
    return Total(counted, "eq")


def _cursors(
    request: Request, orders_of: str, parameters: ListParameters
) -> tuple[Cursors, Cursor | None]:
    """The list's cursors, and the one that the client has sent. Raises InvalidRequest."""
    secret_key = request.app.state.settings.SECRET_KEY
    cursors = Cursors(secret_key, f"{orders_of} {parameters.text()}")
    return cursors, None if parameters.cursor is None else cursors.decode(parameters.cursor)


async def _search(request: Request, parameters: ListParameters, user_id: UUID | None) -> Conditions:
    state = request.app.state
    return await search(state.engine, state.settings, parameters, user_id)


def _freshness(request: Request) -> Freshness:
    found: Freshness = request.app.state.freshness
    return found


# --- a user's orders ------------------------------------------------------------------------------


@router.get(
    "/orders/user/{user_id}/",
    operation_id="orders_list_of_user",
    summary="List a user's orders",
    response_model=list[Order],
    responses=documented(
        *("invalid-cursor", "forbidden", "not-found"),
        sends=("X-Cache",),
        may_send=("Link", *LAGGING),
        scopes=("orders:read",),
    ),
)
async def list_of_user(
    request: Request,
    user_id: UserPath,
    caller: CallerDependency,
    wanted: WantedDependency,
    parameters: Annotated[ListParameters, Query()],
) -> Response:
    """A user's orders as full documents, newest first unless `sort` says otherwise.

    `Link` with `rel="next"` leads to the next page.
    """
    owner_or_staff(caller, user_id, "orders:read")
    cache: OrderCache = request.app.state.cache
    found = await cache.look_up_list(user_id) if parameters == _UNFILTERED else None
    if isinstance(found, CachedList):
        if shows(found.read_at, wanted.tokens):
            READS["list", "hit"].inc()
            return _list_answer(found, {"X-Cache": "hit"})
        found = None
    page, headers = await _read_list(request, user_id, parameters, wanted)
    if page.page == b"[]" and parameters.cursor is None and user_id != caller.own_id:
        await check_user(request.app.state.engine, user_id)
    if isinstance(found, Lease):
        await cache.fill_list(user_id, found, page)
    use = "miss" if found else "bypass"
    READS["list", use].inc()
    return _list_answer(page, headers | {"X-Cache": use})


async def _read_list(
    request: Request, user_id: UUID, parameters: ListParameters, wanted: Wanted
) -> tuple[CachedList, dict[str, str]]:
    cursors, cursor = _cursors(request, str(user_id), parameters)
    where = await _search(request, parameters, user_id)

    async def read(connection: AsyncConnection) -> tuple[bytes, Page]:
        if parameters.needs_new_columns:
            progress = await required_progress(connection, order_view.PROJECTION)
        else:
            progress = await read_progress(connection, order_view.NAME)
        page = await read_page(
            connection, order_list.DOCUMENT, where, parameters.sort, parameters.limit, cursor
        )
        return progress.as_bytes(), page

    (read_at, page), headers = await _freshness(request).read(order_view.NAME, wanted, read)
    link = ""
    if page.after is not None:
        query = dict(request.query_params) | {"cursor": cursors.encode(page.after)}
        link = f'</orders/user/{user_id}/?{urlencode(query)}>; rel="next"'
    documents = b"[" + b",".join(row.document for row in page.rows) + b"]"
    return CachedList(read_at, link, documents), headers


def _list_answer(page: CachedList, headers: dict[str, str]) -> Response:
    headers = PRIVATE | headers
    if page.link:
        headers["Link"] = page.link
    return Response(page.page, 200, headers, "application/json")
