"""The export: every order that matches the filters, as one file."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from order_service import limits
from order_service.ids import now
from order_service.infra.postgres import query
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented, text_content
from order_service.web.responses import PRIVATE
from projections.queries import order_csv, order_list
from projections.queries.cursors import Cursor
from projections.queries.filters import Conditions, ExportParameters
from projections.queries.freshness import LAGGING, Freshness, required_progress
from projections.queries.order_list import Page, read_page, search
from projections.read_models import order_view
from projections.routes.access import staff_only
from projections.routes.consistency import WantedDependency

router = APIRouter()
Last = tuple[datetime, UUID]  # created_at and id
_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
}


class File(StreamingResponse):
    """A client that reads nothing for EXPORT_SEND_TIMEOUT_S is disconnected. Then, and on any
    failure, the response stays incomplete: half a file must not pass for a whole one."""

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(limits.EXPORT_SEND_TIMEOUT_S):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        await super().stream_response(send_in_time)


@router.get(
    "/orders/export/",
    operation_id="orders_export",
    response_class=StreamingResponse,
    summary="Export orders",
    responses=documented(
        "forbidden",
        description="The file, streamed. After a failure the response stays incomplete.",
        sends=("Content-Disposition",),
        may_send=LAGGING,
        content=text_content("application/x-ndjson", "text/csv"),
        scopes=("orders:read",),
    ),
)
async def export(
    request: Request,
    caller: CallerDependency,
    wanted: WantedDependency,
    parameters: Annotated[ExportParameters, Query()],
) -> Response:
    """All orders that exist when the export begins, as a file, oldest first. For staff.

    `format=ndjson`: a line per order, its document as in `GET /orders/{order_id}/`.
    `format=csv`: a line per item, with the columns of its order before its own (RFC 4180, UTF-8,
    with a header line). A text that a spreadsheet would run as a formula gets an apostrophe before
    it: one that begins with = + - @ in any of their forms, blanks before it or not, or that has
    such a beginning after a comma, semicolon, tab, bar or line's end, where a spreadsheet with
    another separator begins a cell.

    `format=csv&excel=true`: for Excel, with a byte order mark, and with the `separator` and
    `decimal` sign that the reader's locale has, such as `separator=semicolon&decimal=comma`.
    """
    staff_only(caller, "orders:read")
    engine = request.app.state.engine
    freshness: Freshness = request.app.state.freshness
    where = await search(engine, request.app.state.settings, parameters, parameters.user_id)
    # Read before the response begins, so that a failure here is still a problem document.
    newest, headers = await freshness.read(order_view.NAME, wanted, lambda c: _newest(c, where))
    documents = _documents(engine, where, newest)
    if parameters.format == "csv":
        content = _csv(documents, parameters.dialect)
    else:
        content = _ndjson(documents)
    name = f"orders-{now():%Y%m%dT%H%M%SZ}.{parameters.format}"
    headers |= PRIVATE | {"Content-Disposition": f'attachment; filename="{name}"'}
    headers["Content-Type"] = _MEDIA_TYPES[parameters.format]
    return File(content, 200, headers)


async def _newest(connection: AsyncConnection, where: Conditions) -> Last | None:
    """The last order to export: without an end, the export of a busy shop might never finish."""
    await required_progress(connection, order_view.PROJECTION)
    newest = await read_page(connection, order_list.KEY, where, "-created_at", 1)
    return _key(newest.rows[0]) if newest.rows else None


async def _documents(
    engine: AsyncEngine, where: Conditions, newest: Last | None
) -> AsyncIterator[list[bytes]]:
    """Pages of documents up to `newest`. Each page is a statement of its own: no connection is held
    while the client reads."""
    cursor = None
    while newest is not None:
        page = await _read(engine, where, cursor)
        rows = [row for row in page.rows if _key(row) <= newest]
        if rows:
            yield [row.document for row in rows]
        if page.after is None or len(rows) < len(page.rows):
            return
        cursor = page.after


async def _read(engine: AsyncEngine, where: Conditions, cursor: Cursor | None) -> Page:
    size = limits.EXPORT_PAGE_ORDERS
    return await query(
        engine, lambda c: read_page(c, order_list.DOCUMENT, where, "created_at", size, cursor)
    )


def _key(row: Row[Any]) -> Last:
    return row.created_at, row.order_id


async def _ndjson(pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    async for documents in pages:
        yield b"".join(document + b"\n" for document in documents)


async def _csv(
    pages: AsyncIterator[list[bytes]], dialect: order_csv.Dialect
) -> AsyncIterator[bytes]:
    yield order_csv.header_line(dialect)
    async for documents in pages:
        yield b"".join(order_csv.lines_of(document, dialect) for document in documents)
