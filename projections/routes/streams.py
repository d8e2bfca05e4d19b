"""The streams' routes: which stream a caller may open, and from which event on.

A stream follows the log itself, so a client that resumes, at any process, misses no event and
receives none twice.
"""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from order_service.infra.postgres import query
from order_service.log import reading
from order_service.log.codec import StoredEvent
from order_service.web.openapi.annotations import documented
from order_service.web.order_path import OrderPath
from order_service.web.problems.problem import Problem
from order_service.web.query_parameters import known_parameters
from projections.queries.freshness import required_progress
from projections.queries.order_events import read_seen
from projections.queries.positions import Positions, parse
from projections.read_models import order_view
from projections.routes.access import staff_only
from projections.routes.tickets import StreamCaller, stream_caller
from projections.streams.board_feed import BoardFeed
from projections.streams.feeds import LogFeed, OrderFeed
from projections.streams.sse import EventStream, Streams

router = APIRouter(
    tags=["streams"], dependencies=[Depends(stream_caller), Depends(known_parameters)]
)

_VERSION = re.compile(r"[0-9]{1,10}")
_DESCRIPTION = "Server-sent events, until the client disconnects."
_EVENTS = {
    "text/event-stream": {
        "schema": {
            "description": "Events of server-sent events (HTML, 9.2), each with `id`, `event` (the "
            "event's type) and `data` (JSON). They come until the stream ends.",
        }
    }
}
_ID = r"^[0-9]{1,19}(\.[0-9]{1,19})*$"


async def _resume_after(
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="As `since`, over which it takes precedence.",
            json_schema_extra={"pattern": _ID},
        ),
    ] = None,
    since: Annotated[
        str | None,
        Query(
            description="Resume after the event with this id.", json_schema_extra={"pattern": _ID}
        ),
    ] = None,
) -> str | None:
    return since if last_event_id is None else last_event_id


ResumeAfter = Annotated[str | None, Depends(_resume_after)]  # the id of an event


@router.get(
    "/orders/{order_id}/stream",
    operation_id="orders_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to an order",
    responses=documented(
        "overloaded",
        "order-unreadable",
        description=_DESCRIPTION,
        content=_EVENTS,
        scopes=("orders:read",),
    ),
)
async def stream_order(
    request: Request,
    order_id: OrderPath,
    caller: StreamCaller,
    resume_after: ResumeAfter,
) -> Response:
    """An order's events from the first on, and new ones as they come: `data` is as in
    `/orders/{id}/events/`, `id` the version.

    A comment every 15 s shows that the connection is alive. The stream ends after 15 minutes:
    resume it.
    """
    after = parse_version(resume_after)

    async def read(
        connection: AsyncConnection, order_id: UUID, partition: int
    ) -> list[StoredEvent]:
        return await reading.read_stream(connection, order_id, partition, after - 1, after)

    state = request.app.state
    seen, last = await read_seen(state.engine, state.log, order_id, caller, read)
    if after > 0 and not last:
        raise _unknown_id("The order has no such version yet")
    streams: Streams = state.streams
    feed = OrderFeed(streams.pages, streams.watch, seen, after)
    return EventStream(streams, caller, "orders:read", feed)


@router.get(
    "/events/stream",
    operation_id="events_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to all orders",
    responses=documented(
        "forbidden",
        "overloaded",
        description=_DESCRIPTION,
        content=_EVENTS,
        scopes=("events:read",),
    ),
)
async def stream_all(
    request: Request,
    caller: StreamCaller,
    resume_after: ResumeAfter,
) -> Response:
    """All orders' events as they come, from now on. For staff. `data` is as in
    `/orders/{id}/events/`, with the order's id.

    `id` is the last position of each partition, joined by dots. Events of one order come in order;
    events of different orders may not.
    """
    staff_only(caller, "events:read")
    heads = await query(request.app.state.engine, reading.heads)
    after = _positions_after(resume_after, heads)
    streams: Streams = request.app.state.streams
    feed = LogFeed(streams.pages, streams.watch, after)
    return EventStream(streams, caller, "events:read", feed)


@router.get(
    "/ops/board/stream",
    operation_id="board_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to the board",
    responses=documented(
        "forbidden",
        "overloaded",
        "projection-lagging",
        description=_DESCRIPTION,
        content=_EVENTS,
        scopes=("orders:read",),
    ),
)
async def stream_board(
    request: Request,
    caller: StreamCaller,
    resume_after: ResumeAfter,
) -> Response:
    """The cards of orders that change, from now on or from the board's `token` on. For staff.

    The events are `cards`: `data` has in `cards` the orders that have changed in about a quarter of
    a second, each once, as in `/ops/board/`. Orders that leave the board are sent too: remove
    those that are done and have not changed for a day. `id` is the last position of each partition
    that the read model shows, joined by dots.
    """
    staff_only(caller, "orders:read")
    shown = await query(
        request.app.state.engine, lambda c: required_progress(c, order_view.PROJECTION)
    )
    positions = dict(enumerate(shown.positions))
    after = _positions_after(resume_after, positions)
    streams: Streams = request.app.state.streams
    feed = BoardFeed(streams.boards, tuple(after.values()))
    return EventStream(streams, caller, "orders:read", feed)


def _positions_after(event_id: str | None, last: dict[int, int]) -> dict[int, int]:
    """Partition to the position to resume after: those of the id, or the `last` ones."""
    positions = parse_positions(event_id)
    if positions is None:
        return last
    if len(positions) != len(last):
        raise _unknown_id(f"It must have {len(last)} positions")
    after = dict(zip(sorted(last), positions, strict=True))
    if any(position > last[partition] for partition, position in after.items()):
        raise _unknown_id("There is no such position yet")
    return after


def parse_version(event_id: str | None) -> int:
    if event_id is None:
        return 0
    if not _VERSION.fullmatch(event_id) or int(event_id) > reading.VERSION_MAX:
        raise _unknown_id("It must be a version of the order")
    return int(event_id)


def parse_positions(event_id: str | None) -> Positions | None:
    if event_id is None:
        return None
    try:
        return parse(event_id)
    except ValueError:
        raise _unknown_id("It must be positions, joined by dots") from None


def _unknown_id(why: str) -> Problem:
    detail = f"Last-Event-ID or since is not an id of this stream. {why}: start without one."
    return Problem(400, "malformed-request", detail)
