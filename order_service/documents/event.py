"""Recorded events as JSON: timelines, streams and dry runs show them alike.

Amounts are texts in the order's currency, as in the order's document, and never floats. An owner is
shown everything but internal notes and who of the staff acted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec.json import Encoder

from order_service.documents.order import time_text
from order_service.domain import money
from order_service.domain.events import NoteVisibility, OrderEvent, OrderNoteAdded, OrderPlaced
from order_service.errors import UnreadableEvent
from order_service.log.codec import Metadata, RecordedEvent, StoredEvent, decode

Viewer = Literal["owner", "staff"]
_MINOR = "_minor"

# To bytes; not orjson, which refuses integers beyond 64 bits, as a stored event may have them.
encode = Encoder().encode


@dataclass(frozen=True, slots=True)
class Origin:
    """What an order's first event says for all that follow."""

    owner: UUID
    currency: str


def origin_of(first: StoredEvent) -> Origin:
    """`first`: the event of version 1. Raises UnreadableEvent."""
    placed = decode(first).event
    if not isinstance(placed, OrderPlaced):
        raise UnreadableEvent(
            "order-unreadable",
            f"The order's first event is {first.type}, expected OrderPlaced.",
            partition=first.partition,
            position=first.position,
            stream_id=str(first.stream_id),
        )
    return Origin(placed.user_id, placed.currency)


def event_as_json(event: OrderEvent, currency: str) -> dict[str, Any]:
    """The event's payload: `<name>_minor` is an amount text under `<name>`, at any depth."""
    return _fields(event, currency)


def recorded_as_json(
    stored: StoredEvent, currency: str | None, viewer: Viewer
) -> dict[str, Any] | None:
    """The event with what is known around it; None: not for this viewer.

    An event that today's code cannot read, or whose order has no currency that it can read
    (`currency` None), is shown without its payload: `"data": null, "unreadable": true`.
    """
    try:
        recorded = decode(stored)
    except UnreadableEvent:
        # What cannot be read cannot be known to be public.
        hidden = viewer == "owner" and stored.type == OrderNoteAdded.__name__
        return None if hidden else _unreadable(stored)
    if viewer == "owner" and _is_internal_note(recorded.event):
        return None
    if currency is None:
        return _unreadable(stored)
    return _envelope(stored) | {
        "actor": actor_as_json(recorded.metadata, viewer),
        **_correlation(recorded.metadata, viewer),
        "data": event_as_json(recorded.event, currency),
    }


def visibility(recorded: RecordedEvent) -> NoteVisibility:
    """Of the text that an event points at: a note says it itself; what else users write is public,
    and what staff write is internal."""
    if isinstance(recorded.event, OrderNoteAdded):
        return recorded.event.visibility
    return "public" if recorded.metadata.actor_type == "user" else "internal"


def _is_internal_note(event: OrderEvent) -> bool:
    return isinstance(event, OrderNoteAdded) and event.visibility == "internal"


def actor_as_json(metadata: Metadata, viewer: Viewer) -> dict[str, Any]:
    """Who acted; an owner is not told who of the staff it was."""
    actor: dict[str, Any] = {"type": metadata.actor_type}
    if metadata.actor_id is not None and not _anonymous(metadata, viewer):
        actor["id"] = str(metadata.actor_id)
    return actor


def _anonymous(metadata: Metadata, viewer: Viewer) -> bool:
    return viewer == "owner" and metadata.actor_type != "user"


def _correlation(metadata: Metadata, viewer: Viewer) -> dict[str, Any]:
    known = metadata.correlation_id is not None and not _anonymous(metadata, viewer)
    return {"correlation_id": metadata.correlation_id} if known else {}


def _envelope(stored: StoredEvent) -> dict[str, Any]:
    return {
        "version": stored.version,
        "type": stored.type,
        "at": time_text(stored.recorded_at),
        "event_id": str(stored.event_id),
    }


def _unreadable(stored: StoredEvent) -> dict[str, Any]:
    return _envelope(stored) | {"data": None, "unreadable": True}


def _fields(value: Any, currency: str) -> dict[str, Any]:
    """By the event's own fields: the keys of a line's attributes are a client's, whatever they end
    in."""
    shown: dict[str, Any] = {}
    for field in fields(value):
        found = getattr(value, field.name)
        if field.name.endswith(_MINOR):
            amount = None if found is None else money.to_text(found, currency)
            shown[field.name.removesuffix(_MINOR)] = amount
        else:
            shown[field.name] = _value(found, currency)
    return shown


def _value(value: Any, currency: str) -> Any:
    if is_dataclass(value):
        return _fields(value, currency)
    if isinstance(value, tuple):
        return [_value(element, currency) for element in value]
    if isinstance(value, Mapping):
        # sorted: the log keeps JSON objects without the order of their keys
        return {key: _value(value[key], currency) for key in sorted(value)}
    if isinstance(value, datetime):
        return time_text(value)
    return str(value) if isinstance(value, UUID) else value
