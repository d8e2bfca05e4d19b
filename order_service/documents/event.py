"""Recorded events as JSON, in the same form in timelines, streams and dry runs.

Amounts are strings in the order's currency, as in the order's document, never floats. An owner sees
all events except internal notes, and no ids of staff or API keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct

from order_service.documents.shape import Document, Instant, Sometimes, json_time, means
from order_service.domain import money
from order_service.domain.events import OrderEvent, OrderNoteAdded, OrderPlaced
from order_service.domain.parts import NoteVisibility
from order_service.errors import UnreadableEvent
from order_service.log.codec import Metadata, RecordedEvent, StoredEvent, decode

Viewer = Literal["owner", "staff"]
_MINOR = "_minor"

EventData = Annotated[
    Mapping[str, Any],
    means("The event's payload; amounts are strings in the order's currency."),
]


class Actor(Document):
    type: Annotated[str, means("`user`, `staff`, `key` (an API key) or `system`.")]
    id: Sometimes[Annotated[UUID, means("The actor's id; owners see only the ids of users.")]] = (
        UNSET
    )


class Event(Document, kw_only=True):
    version: int
    type: str
    at: Instant
    event_id: UUID
    actor: Sometimes[Actor] = UNSET
    correlation_id: Sometimes[
        Annotated[str, means("The id of the request that caused the event.")]
    ] = UNSET
    data: EventData | None
    unreadable: Sometimes[
        Annotated[
            bool, means("true if the running version cannot read the event; `data` is then null.")
        ]
    ] = UNSET


class EventOfOrder(Event):
    """An event in the stream of all orders."""

    order_id: UUID


class Events(Document):
    events: list[Event]
    next_after_version: Annotated[
        int | None,
        means("The value for `after_version` that returns the next page; null on the last page."),
    ]


@dataclass(frozen=True, slots=True)
class Origin:
    """The data of an order's first event that all later events need."""

    owner: UUID | None
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


def event_data(event: OrderEvent, currency: str) -> dict[str, Any]:
    """The event's payload. At any depth a field `<name>_minor` becomes an amount string `<name>`.

    An event with an amount also has its currency. Only the event's fields are converted, not the
    keys of a line's attributes: clients choose them.
    """
    shown = _fields(event, currency)
    return {**shown, "currency": currency} if "amount" in shown else shown


def event_for(viewer: Viewer, stored: StoredEvent, currency: str | None) -> Event | None:
    """The event as this viewer may see it; None if the viewer may not see it.

    An event that the code cannot read, or whose order's currency it cannot read (`currency` None),
    is shown without its payload: `"data": null, "unreadable": true`.
    """
    try:
        recorded = decode(stored)
    except UnreadableEvent:
        # An unreadable note may be internal.
        hidden = viewer == "owner" and stored.type == OrderNoteAdded.__name__
        return None if hidden else _event(stored, data=None, unreadable=True)
    if viewer == "owner" and _is_internal_note(recorded.event):
        return None
    if currency is None:
        return _event(stored, data=None, unreadable=True)
    metadata = recorded.metadata
    known = metadata.correlation_id is not None and not _hides_actor(metadata, viewer)
    return _event(
        stored,
        actor=actor_for(viewer, metadata),
        correlation_id=metadata.correlation_id if known else UNSET,
        data=event_data(recorded.event, currency),
    )


def _event(stored: StoredEvent, **content: Any) -> Event:
    return Event(
        version=stored.version,
        type=stored.type,
        at=json_time(stored.recorded_at),
        event_id=stored.event_id,
        **content,
    )


def visibility(recorded: RecordedEvent) -> NoteVisibility:
    """The visibility of the event's free text: a note has its own, and one that came with the order
    is public; other texts are public if a user wrote them and internal if staff did."""
    if isinstance(recorded.event, OrderNoteAdded):
        return recorded.event.visibility
    if isinstance(recorded.event, OrderPlaced):
        return "public"
    return "public" if recorded.metadata.actor_type == "user" else "internal"


def _is_internal_note(event: OrderEvent) -> bool:
    return isinstance(event, OrderNoteAdded) and event.visibility == "internal"


def actor_for(viewer: Viewer, metadata: Metadata) -> Actor:
    """The event's actor; without the id if the viewer is an owner and the actor is no user."""
    if metadata.actor_id is None or _hides_actor(metadata, viewer):
        return Actor(metadata.actor_type)
    return Actor(metadata.actor_type, metadata.actor_id)


def _hides_actor(metadata: Metadata, viewer: Viewer) -> bool:
    return viewer == "owner" and metadata.actor_type != "user"


def _fields(value: Any, currency: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in value.__struct_fields__:
        found = getattr(value, name)
        if name == "unit_price_minor" and found is not None:
            shown["unit_price"] = money.to_text(found, currency, value.unit_price_scale)
        elif name.endswith(_MINOR):
            amount = None if found is None else money.to_text(found, currency)
            shown[name.removesuffix(_MINOR)] = amount
        elif name != "unit_price_scale":
            shown[name] = _value(found, currency)
    return shown


def _value(value: Any, currency: str) -> Any:
    if isinstance(value, Struct):
        return _fields(value, currency)
    if isinstance(value, tuple):
        return [_value(element, currency) for element in value]
    if isinstance(value, Mapping):
        # sorted: the log does not keep the order of an object's keys
        return {key: _value(value[key], currency) for key in sorted(value)}
    return json_time(value) if isinstance(value, datetime) else value
