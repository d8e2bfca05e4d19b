"""Streams folded into orders: the one place where events are. May import the domain, codec, ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from order_service.domain.order import evolve
from order_service.domain.state import Order
from order_service.errors import UnreadableEvent
from order_service.ids import order_number
from order_service.log.codec import RecordedEvent, StoredEvent, decode

# The principal, its Idempotency-Key, and whether the target was the collection: a key that created
# the order is free for commands on it.
CommandKey = tuple[UUID, str, bool]


@dataclass(frozen=True, slots=True)
class AnsweredCommand:
    """A command that this stream proves: what was asked, and the last version that it made."""

    fingerprint: str
    version: int


@dataclass(frozen=True, slots=True)
class FoldedOrder:
    """An order's state with what its stream says around it; `version` and `position` are those of
    the last event."""

    id: UUID
    number: str
    partition: int
    position: int
    version: int
    order: Order
    created_at: datetime
    updated_at: datetime
    commands: Mapping[CommandKey, AnsweredCommand] = field(default_factory=dict)
    # The document, once `representation` has written it; not copied by `replace`.
    rendered: bytes | None = field(default=None, init=False, compare=False, repr=False)


def fold(
    folded: FoldedOrder | None, recorded: RecordedEvent, partitions: int, *, skipping: bool = False
) -> FoldedOrder:
    """The order after `recorded`, which is the next event of its stream.

    `skipping`: events may be left out before it; the version is that of the last one all the same.
    """
    _check_next(folded.version if folded else 0, recorded, skipping)
    order = evolve(folded.order if folded else None, recorded.event)
    commands = _with_command(folded.commands if folded else {}, recorded)
    return _folded(folded, recorded, recorded, order, commands, partitions)


def fold_stored(
    stored: Iterable[StoredEvent],
    partitions: int,
    folded: FoldedOrder | None = None,
    *,
    skipping: bool = False,
) -> FoldedOrder | None:
    """A whole stream, or more of one; `UnreadableEvent` if today's code fails on an event of it.

    As `fold` event by event; what is around the order's state is put together once, at the end,
    since replay comes here for every event there is.
    """
    first = last = None
    version = folded.version if folded else 0
    order = folded.order if folded else None
    commands: Mapping[CommandKey, AnsweredCommand] = folded.commands if folded else {}
    for row in stored:
        try:
            last = decode(row)
            first = first or last
            order = _after(order, last, version, skipping)
        except UnreadableEvent as error:
            error.owner = order.user_id if order else None
            raise
        version = last.version
        commands = _with_command(commands, last)
    if first is None or last is None or order is None:
        return folded
    return _folded(folded, first, last, order, commands, partitions)


def _after(before: Order | None, recorded: RecordedEvent, version: int, skipping: bool) -> Order:
    try:
        _check_next(version, recorded, skipping)
        return evolve(before, recorded.event)
    except Exception as error:  # whatever evolve stumbles over
        raise UnreadableEvent(
            "order-unreadable",
            f"Event {type(recorded.event).__name__} at partition {recorded.partition}, "
            f"position {recorded.position} does not fit the order before it.",
            partition=recorded.partition,
            position=recorded.position,
            stream_id=str(recorded.stream_id),
        ) from error


def fold_recorded(
    folded: FoldedOrder | None,
    recorded: Sequence[RecordedEvent],
    partitions: int,
    order: Order | None = None,
) -> FoldedOrder:
    """As `fold` event by event. `order`: the state after them, where it is known already."""
    version = folded.version if folded else 0
    commands: Mapping[CommandKey, AnsweredCommand] = folded.commands if folded else {}
    state = folded.order if folded else None
    for event in recorded:
        _check_next(version, event, skipping=False)
        version = event.version
        commands = _with_command(commands, event)
        if order is None:
            state = evolve(state, event.event)
    after = order or state
    assert after is not None, "there is at least one event"
    return _folded(folded, recorded[0], recorded[-1], after, commands, partitions)


def _check_next(version: int, recorded: RecordedEvent, skipping: bool) -> None:
    assert recorded.version == version + 1 or (skipping and recorded.version > version), (
        "a stream is folded without gaps, in order"
    )


def _folded(
    before: FoldedOrder | None,
    first: RecordedEvent,
    last: RecordedEvent,
    order: Order,
    commands: Mapping[CommandKey, AnsweredCommand],
    partitions: int,
) -> FoldedOrder:
    """`first` is the stream's first event unless there is an order `before`."""
    if before is not None:
        return replace(
            before,
            position=last.position,
            version=last.version,
            order=order,
            updated_at=last.recorded_at,
            commands=commands,
        )
    return FoldedOrder(
        id=UUID(int=first.stream_id.int),  # the driver's own UUID class is no JSON to orjson
        number=order_number(first.position, first.partition, partitions),
        partition=first.partition,
        position=last.position,
        version=last.version,
        order=order,
        created_at=first.recorded_at,
        updated_at=last.recorded_at,
        commands=commands,
    )


def _with_command(
    commands: Mapping[CommandKey, AnsweredCommand], recorded: RecordedEvent
) -> Mapping[CommandKey, AnsweredCommand]:
    metadata = recorded.metadata
    if metadata.key is None or metadata.fingerprint is None or metadata.actor_id is None:
        return commands
    created = commands.get((metadata.actor_id, metadata.key, True))
    creation = recorded.version == 1 or (
        created is not None and created.fingerprint == metadata.fingerprint
    )
    answered = AnsweredCommand(metadata.fingerprint, recorded.version)
    return {**commands, (metadata.actor_id, metadata.key, creation): answered}
