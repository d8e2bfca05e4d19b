"""Folds streams of events into orders. This is the only module that does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from uuid import UUID

from order_service.domain import state as rules
from order_service.domain.immutable import immutable
from order_service.domain.order import copy, evolve, evolve_in_place
from order_service.domain.state import Order, OrderSummary
from order_service.errors import UnreadableEvent
from order_service.ids import order_number
from order_service.log.codec import (
    Metadata,
    RecordedEvent,
    StoredEvent,
    decode_event,
    decode_metadata,
    unreadable,
)

# The actor's id, the Idempotency-Key, and whether the command created the order: the key of a
# creation may be used again for a command on the order.
CommandKey = tuple[UUID, str, bool]
# Event types whose first time is kept: no later event contains it.
_MILESTONES = frozenset(("OrderPaid", "ShipmentDispatched", "OrderDelivered"))


@immutable
class AnsweredCommand:
    """A command whose events are in the stream: its fingerprint, and the version after it."""

    fingerprint: str
    version: int


@immutable
class FoldedOrder:
    """An order's state with the data of its stream. `version` and `position` are those of the last
    event. `milestones`: event type to the time of its first event."""

    id: UUID
    number: str
    partition: int
    position: int
    version: int
    order: Order
    created_at: datetime
    updated_at: datetime
    commands: Mapping[CommandKey, AnsweredCommand] = field(default_factory=dict)
    milestones: Mapping[str, datetime] = field(default_factory=dict)
    # The JSON document, once `documents.order.document` has written it.
    rendered: bytes | None = field(default=None, init=False, compare=False, repr=False)
    _summary: OrderSummary | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def summary(self) -> OrderSummary:
        """The order's statuses and balances, computed once for several read models."""
        if self._summary is None:
            object.__setattr__(self, "_summary", rules.summary(self.order))
        assert self._summary is not None
        return self._summary


def fold_stored(
    stored: Iterable[StoredEvent],
    partitions: int,
    folded: FoldedOrder | None = None,
    *,
    skipping: bool = False,
    with_commands: bool = False,
) -> FoldedOrder | None:
    """The order after a whole stream, or after more events of the order `folded`; None without
    events and order. Raises `UnreadableEvent` if the code cannot read or apply an event.

    `skipping`: the stream may have gaps; the version is that of the last event. `with_commands`:
    also collect the answered commands; otherwise metadata is not decoded. The `FoldedOrder` is
    built once, after the last event: replay calls this function for every event of the log.
    """
    first = last = None
    version = folded.version if folded else 0
    order = copy(folded.order) if folded else None
    commands: Mapping[CommandKey, AnsweredCommand] = folded.commands if folded else {}
    milestones: Mapping[str, datetime] = folded.milestones if folded else {}
    try:
        for last in stored:
            if first is None:
                first = last
            event = decode_event(last)
            _check_next(version, last.version, skipping)
            order = evolve_in_place(order, event)
            version = last.version
            if last.type in _MILESTONES:
                milestones = {last.type: last.recorded_at, **milestones}
            if with_commands:
                commands = _with_command(commands, decode_metadata(last), version)
    except UnreadableEvent as error:
        error.owner = order.user_id if order else None
        raise
    except Exception as error:  # any error of `evolve`
        assert last is not None
        raise _not_applicable(last, order) from error
    if first is None or last is None or order is None:
        return folded
    return _folded(folded, first, last, order, commands, milestones, partitions)


def _not_applicable(stored: StoredEvent, before: Order | None) -> UnreadableEvent:
    error = unreadable(stored, "cannot be applied to the order before it")
    error.owner = before.user_id if before else None
    return error


def fold_recorded(
    folded: FoldedOrder | None,
    recorded: Sequence[RecordedEvent],
    partitions: int,
    order: Order | None = None,
) -> FoldedOrder:
    """The order after `recorded`, the next events of its stream, at least one. `order`: the state
    after them, if it is already computed."""
    version = folded.version if folded else 0
    commands: Mapping[CommandKey, AnsweredCommand] = folded.commands if folded else {}
    milestones: Mapping[str, datetime] = folded.milestones if folded else {}
    state = folded.order if folded else None
    for event in recorded:
        _check_next(version, event.version, skipping=False)
        version = event.version
        commands = _with_command(commands, event.metadata, version)
        if (name := type(event.event).__name__) in _MILESTONES:
            milestones = {name: event.recorded_at, **milestones}
        if order is None:
            state = evolve(state, event.event)
    after = order or state
    assert after is not None, "there is at least one event"
    return _folded(folded, recorded[0], recorded[-1], after, commands, milestones, partitions)


def _check_next(before: int, version: int, skipping: bool) -> None:
    assert version == before + 1 or (skipping and version > before), (
        "a stream is folded without gaps, in order"
    )


def _folded(
    before: FoldedOrder | None,
    first: RecordedEvent | StoredEvent,
    last: RecordedEvent | StoredEvent,
    order: Order,
    commands: Mapping[CommandKey, AnsweredCommand],
    milestones: Mapping[str, datetime],
    partitions: int,
) -> FoldedOrder:
    """`first` is the stream's first event if `before` is None."""
    if before is None:
        order_id = UUID(int=first.stream_id.int)  # orjson cannot serialize the driver's UUID class
        number = order_number(first.position, first.partition, partitions)
        created_at = first.recorded_at
    else:
        order_id, number, created_at = before.id, before.number, before.created_at
    return FoldedOrder(
        order_id,
        number,
        last.partition,
        last.position,
        last.version,
        order,
        created_at,
        last.recorded_at,
        commands,
        milestones,
    )


def _with_command(
    commands: Mapping[CommandKey, AnsweredCommand], metadata: Metadata, version: int
) -> Mapping[CommandKey, AnsweredCommand]:
    if metadata.key is None or metadata.fingerprint is None or metadata.actor_id is None:
        return commands
    created = commands.get((metadata.actor_id, metadata.key, True))
    creation = version == 1 or (created is not None and created.fingerprint == metadata.fingerprint)
    answered = AnsweredCommand(metadata.fingerprint, version)
    return {**commands, (metadata.actor_id, metadata.key, creation): answered}
