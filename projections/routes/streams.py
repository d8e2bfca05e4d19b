"""The streams' routes: who may listen, from where on.

A stream is read from the log itself, or goes by it, so a client that resumes misses nothing and is
told nothing twice, whichever process it comes back to.
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
from projections.read_models import order_view
from projections.routes.access import staff_only
from projections.streams.board_feed import BoardFeed
from projections.streams.feeds import LogFeed, OrderFeed
from projections.streams.sse import EventStream, Streams
from projections.streams.tickets import StreamCaller, stream_caller

router = APIRouter(
    tags=["streams"], dependencies=[Depends(stream_caller), Depends(known_parameters)]
)

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="Resume after it; goes before `since`.")
]
Since = Annotated[str | None, Query(description="Resume after the event with this id.")]
_VERSION = re.compile(r"[0-9]{1,10}")
_POSITION = re.compile(r"[0-9]{1,18}")
_SAYS = "Server-sent events, for as long as the client listens."
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "description": "The event's type."},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"type": "integer"},
    },
}
_EVENTS = {"text/event-stream": {"itemSchema": _EVENT}}


@router.get(
    "/orders/{order_id}/stream",
    operation_id="orders_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to an order",
    responses=documented("overloaded", "order-unreadable", says=_SAYS, content=_EVENTS),
)
async def stream_order(
    request: Request,
    order_id: OrderPath,
    caller: StreamCaller,
    last_event_id: LastEventId = None,
    since: Since = None,
) -> Response:
    """An order's events as they come, from its first on: `data` is as in `/orders/{id}/events/`,
    `id` the version.

    A comment every 15 s shows that the connection is alive. After 15 minutes the stream ends:
    resume it.
    """
    after = parse_version(last_event_id if last_event_id is not None else since)

    async def read(
        connection: AsyncConnection, order_id: UUID, partition: int
    ) -> list[StoredEvent]:
        return await reading.read_stream(connection, order_id, partition, after - 1, after)

    state = request.app.state
    seen, last = await read_seen(state.engine, state.log, order_id, caller, read)
    if after > 0 and not last:
        raise _no_id("The order has no such version yet")
    streams: Streams = state.streams
    feed = OrderFeed(streams.pages, streams.watch, seen, after)
    return EventStream(streams, caller.user_id, feed)


@router.get(
    "/events/stream",
    operation_id="events_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to all orders",
    responses=documented("forbidden", "overloaded", says=_SAYS, content=_EVENTS),
)
async def stream_all(
    request: Request,
    caller: StreamCaller,
    last_event_id: LastEventId = None,
    since: Since = None,
) -> Response:
    """All orders' events as they come, from now on; for staff. `data` is as in
    `/orders/{id}/events/`, with the order's id.

    `id` is the last position of each partition, joined by dots. Events of one order come in their
    order; those of different orders may not.
    """
    staff_only(caller)
    heads = await query(request.app.state.engine, reading.heads)
    after = _resumed(last_event_id if last_event_id is not None else since, heads)
    streams: Streams = request.app.state.streams
    feed = LogFeed(streams.pages, streams.watch, after)
    return EventStream(streams, caller.user_id, feed)


@router.get(
    "/ops/board/stream",
    operation_id="board_stream",
    status_code=200,
    response_class=EventStream,
    summary="Listen to the board",
    responses=documented(
        "forbidden", "overloaded", "projection-lagging", says=_SAYS, content=_EVENTS
    ),
)
async def stream_board(
    request: Request,
    caller: StreamCaller,
    last_event_id: LastEventId = None,
    since: Since = None,
) -> Response:
    """The cards of orders that have changed, from now on or from the board's `token` on; for staff.

    Events are `cards`: `data` has in `cards` what has changed in about a quarter of a second, as
    `/ops/board/` shows it, each order once. Orders that have left the board come too: whoever shows
    it drops those that are done and were not changed for a day. `id` is the last position of each
    partition that the read model shows, joined by dots.
    """
    staff_only(caller)
    shown = await query(
        request.app.state.engine, lambda c: required_progress(c, order_view.PROJECTION)
    )
    positions = dict(enumerate(shown.positions))
    after = _resumed(last_event_id if last_event_id is not None else since, positions)
    streams: Streams = request.app.state.streams
    return EventStream(streams, caller.user_id, BoardFeed(streams.boards, tuple(after.values())))


def _resumed(event_id: str | None, last: dict[int, int]) -> dict[int, int]:
    """The positions to go on from: those of the id, or the `last` ones."""
    positions = parse_positions(event_id)
    if positions is None:
        return last
    if len(positions) != len(last):
        raise _no_id(f"It must have {len(last)} positions")
    after = dict(zip(sorted(last), positions, strict=True))
    if any(position > last[partition] for partition, position in after.items()):
        raise _no_id("There is no such position yet")
    return after


def parse_version(event_id: str | None) -> int:
    if event_id is None:
        return 0
    if not _VERSION.fullmatch(event_id) or int(event_id) > reading.VERSION_MAX:
        raise _no_id("It must be a version of the order")
    return int(event_id)


def parse_positions(event_id: str | None) -> list[int] | None:
    if event_id is None:
        return None
    texts = event_id.split(".")
    if not all(_POSITION.fullmatch(text) for text in texts):
        raise _no_id("It must be positions, joined by dots")
    return [int(text) for text in texts]


def _no_id(why: str) -> Problem:
    detail = f"Last-Event-ID or since is no id of this stream. {why}: begin without one."
    return Problem(400, "malformed-request", detail)
