"""The routes of an order's history and texts: events, differences, notes, addresses, contact.

They read the log, not read models, so a response shows every earlier acknowledged write.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.documents import history as documents
from order_service.documents.event import Events, Viewer, actor_for, event_for, visibility
from order_service.documents.order import document
from order_service.documents.shape import json_time
from order_service.domain.state import Order as OrderState
from order_service.errors import UnreadableEvent
from order_service.infra.postgres import query
from order_service.log import reading
from order_service.log.codec import RecordedEvent, StoredEvent, decode
from order_service.log.event_log import EventLog
from order_service.log.fold import fold_stored
from order_service.web.identity import Caller, CallerDependency, caller
from order_service.web.openapi.annotations import documented
from order_service.web.order_path import OrderPath
from order_service.web.problems.problem import Problem
from order_service.web.query_parameters import WHOLE, known_parameters, wrong_parameter
from order_service.web.responses import PRIVATE, json_answer
from projections.queries.diff import changes
from projections.queries.order_events import read_seen

router = APIRouter(tags=["history"], dependencies=[Depends(caller), Depends(known_parameters)])

Version = Annotated[int, Field(ge=0, le=reading.VERSION_MAX), WHOLE]
FromVersion = Annotated[Version | None, Query(alias="from", description="Default: `to` minus 1.")]
ToVersion = Annotated[Version | None, Query(alias="to", description="Default: the last version.")]
AfterVersion = Annotated[Version, Query(description="Only events after this version.")]
PageLimit = Annotated[
    int,
    Field(ge=1, le=limits.TIMELINE_LIMIT_MAX),
    WHOLE,
    Query(description="At most this many."),
]
Note = tuple[UUID, RecordedEvent]  # an event and the text that it points at
Texts = dict[UUID, tuple[str, str]]  # text id to kind and body


# --- events ---------------------------------------------------------------------------------------


@router.get(
    "/orders/{order_id}/events/",
    operation_id="orders_events",
    summary="Read an order's events",
    response_model=Events,
    responses=documented("order-unreadable", scopes=("orders:read",)),
)
async def get_events(
    request: Request,
    order_id: OrderPath,
    caller: CallerDependency,
    after_version: AfterVersion = 0,
    limit: PageLimit = limits.TIMELINE_LIMIT_DEFAULT,
) -> Response:
    """The order's events, oldest first. For the next page send `next_after_version` as
    `after_version`; it is null on the last page.

    Owners do not see internal notes, so their pages may have fewer events than `limit`, nor which
    member of the staff acted. An event that the running version cannot read has `data` null and
    `unreadable` true.
    """

    async def read(
        connection: AsyncConnection, order_id: UUID, partition: int
    ) -> list[StoredEvent]:
        return await reading.read_stream(
            connection, order_id, partition, after_version, limit=limit + 1
        )

    seen, stored = await read_seen(*_log_of(request), order_id, caller, read)
    page = stored[:limit]
    shown = (event_for(seen.viewer, event, seen.currency) for event in page)
    following = page[-1].version if len(stored) > limit else None
    events = Events([event for event in shown if event is not None], following)
    return json_answer(events, headers=PRIVATE)


# --- differences ----------------------------------------------------------------------------------


@router.get(
    "/orders/{order_id}/diff/",
    operation_id="orders_diff",
    summary="Compare two versions of an order",
    response_model=documents.Diff,
    responses=documented("order-unreadable", scopes=("orders:read",)),
)
async def get_diff(
    request: Request,
    order_id: OrderPath,
    caller: CallerDependency,
    earlier: FromVersion = None,
    later: ToVersion = None,
) -> Response:
    """The differences between two versions of the order's document: JSON pointers, old and new
    values.

    Version 0 is before the order existed: null. Items, shipments and the like are compared by id. A
    pointer has an element's index in the newer document, or in the older if it was removed.
    """
    engine, log = _log_of(request)
    _, stored = await read_seen(engine, log, order_id, caller, reading.read_stream)
    later, earlier = _versions(later, earlier, head=len(stored))
    before = fold_stored(stored[:earlier], log.partitions)
    after = fold_stored(stored[earlier:later], log.partitions, before)
    old, new = (orjson.loads(document(order)) if order else None for order in (before, after))
    return json_answer(documents.Diff(earlier, later, changes(old, new)), headers=PRIVATE)


def _versions(later: int | None, earlier: int | None, head: int) -> tuple[int, int]:
    """Raises Problem 422 for versions that do not exist, or are in the wrong order."""
    later = head if later is None else later
    if later > head:
        raise wrong_parameter("to", f"The order's last version is {head}.")
    earlier = max(0, later - 1) if earlier is None else earlier
    if earlier > later:
        raise wrong_parameter("from", f"Expected a version of at most `to`, which is {later}.")
    return later, earlier


# --- texts ----------------------------------------------------------------------------------------


@router.get(
    "/orders/{order_id}/notes/",
    operation_id="orders_notes",
    summary="Read an order's notes",
    response_model=list[documents.Note],
    responses=documented("order-unreadable", may_send=("Link",), scopes=("orders:read",)),
)
async def get_notes(
    request: Request,
    order_id: OrderPath,
    caller: CallerDependency,
    after_version: AfterVersion = 0,
    limit: PageLimit = limits.TIMELINE_LIMIT_DEFAULT,
) -> Response:
    """The order's notes and the texts of commands on it, oldest first. `Link` with `rel="next"`
    leads to the next page.

    Owners see public notes only. An erased text is null, and so is its kind.
    """

    async def read(
        connection: AsyncConnection, order_id: UUID, partition: int
    ) -> tuple[list[StoredEvent], list[Note], Texts]:
        stored = await reading.read_events_with_text(
            connection, order_id, partition, after_version, limit + 1
        )
        notes = _pointing(stored[:limit])
        texts = await reading.read_texts(connection, order_id, [ref for ref, _ in notes])
        return stored, notes, texts

    seen, (stored, pointing, texts) = await read_seen(*_log_of(request), order_id, caller, read)
    notes = (_note(recorded, ref, texts, seen.viewer) for ref, recorded in pointing)
    headers = PRIVATE
    if len(stored) > limit:
        after = f"?after_version={stored[limit - 1].version}&limit={limit}"
        headers = PRIVATE | {"Link": f'</orders/{seen.order_id}/notes/{after}>; rel="next"'}
    return json_answer([note for note in notes if note is not None], headers=headers)


def _pointing(stored: list[StoredEvent]) -> list[Note]:
    """Leaves out unreadable events: it is unknown whether the caller may see their texts."""
    found = []
    for event in stored:
        with suppress(UnreadableEvent):
            recorded = decode(event)
            ref: UUID | None = getattr(recorded.event, "text_ref", None)
            if ref is not None:
                found.append((ref, recorded))
    return found


def _note(
    recorded: RecordedEvent, text_ref: UUID, texts: Texts, viewer: Viewer
) -> documents.Note | None:
    """None: this viewer may not see it."""
    visible = visibility(recorded)
    if viewer == "owner" and visible == "internal":
        return None
    kind, text = texts.get(text_ref, (None, None))
    return documents.Note(
        id=getattr(recorded.event, "note_id", text_ref),
        kind=kind,
        visibility=visible,
        text=text,
        at=json_time(recorded.recorded_at),
        version=recorded.version,
        actor=actor_for(viewer, recorded.metadata),
    )


@router.get(
    "/orders/{order_id}/shipping-address/",
    operation_id="orders_shipping_address",
    summary="Read an order's shipping address",
    response_model=documents.Address,
    responses=documented("not-found", "order-unreadable", scopes=("orders:read",)),
)
async def get_shipping_address(
    request: Request, order_id: OrderPath, caller: CallerDependency
) -> Response:
    """The order's shipping address. 404 `not-found` if none was given, or it was erased."""
    return await _text_of(request, order_id, caller, "shipping address", lambda o: o.address_ref)


@router.get(
    "/orders/{order_id}/billing-address/",
    operation_id="orders_billing_address",
    summary="Read an order's billing address",
    response_model=documents.Address,
    responses=documented("not-found", "order-unreadable", scopes=("orders:read",)),
)
async def get_billing_address(
    request: Request, order_id: OrderPath, caller: CallerDependency
) -> Response:
    """The order's billing address. 404 `not-found` if none was given, or it was erased."""
    return await _text_of(
        request, order_id, caller, "billing address", lambda o: o.billing_address_ref
    )


@router.get(
    "/orders/{order_id}/contact/",
    operation_id="orders_contact",
    summary="Read an order's contact",
    response_model=documents.Contact,
    responses=documented("not-found", "order-unreadable", scopes=("orders:read",)),
)
async def get_contact(request: Request, order_id: OrderPath, caller: CallerDependency) -> Response:
    """The customer's e-mail address, name and telephone number, as given with the order. 404
    `not-found` if none were given, or they were erased."""
    return await _text_of(request, order_id, caller, "contact", lambda o: o.contact_ref)


async def _text_of(
    request: Request,
    order_id: str,
    caller: Caller,
    what: str,
    ref_of: Callable[[OrderState], UUID | None],
) -> Response:
    engine, log = _log_of(request)
    seen, stored = await read_seen(engine, log, order_id, caller, reading.read_stream)
    folded = fold_stored(stored, log.partitions)
    assert folded is not None, "a stream that has a first event has events"
    ref = ref_of(folded.order)
    texts: Texts = {}
    if ref is not None:
        texts = await query(engine, lambda c: reading.read_texts(c, seen.order_id, [ref]))
    if ref not in texts:
        raise Problem(404, "not-found", f"The order has no {what}.")
    _, body = texts[ref]
    return Response(body, 200, PRIVATE, "application/json")


def _log_of(request: Request) -> tuple[AsyncEngine, EventLog]:
    return request.app.state.engine, request.app.state.log
