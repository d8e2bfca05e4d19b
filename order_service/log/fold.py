"""Streams folded into orders: the one place where events are. May import the domain, codec, ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from order_service.domain.order import Order, evolve
from order_service.errors import UnreadableEvent
from order_service.ids import order_number
from order_service.log.codec import RecordedEvent, StoredEvent, decode

CommandKey = tuple[UUID, str]  # the principal and its Idempotency-Key


@dataclass(frozen=True, slots=True)
class AnsweredCommand:
    """A command that this stream proves: what was asked, and the last version that it made."""

    fingerprint: str
    version: int


@dataclass(frozen=True, slots=True)
class FoldedOrder:
    """An order's state with what its stream says around it; `version` is that of the last event."""

    id: UUID
    number: str
    partition: int
    version: int
    order: Order
    created_at: datetime
    updated_at: datetime
    commands: Mapping[CommandKey, AnsweredCommand] = field(default_factory=dict)


def fold(
    folded: FoldedOrder | None, recorded: RecordedEvent, partitions: int, *, skipping: bool = False
) -> FoldedOrder:
    """The order after `recorded`, which is the next event of its stream.

    `skipping`: events may be left out before it; the version is that of the last one all the same.
    """
    version = folded.version if folded else 0
    assert recorded.version == version + 1 or (skipping and recorded.version > version), (
        "a stream is folded without gaps, in order"
    )
    order = evolve(folded.order if folded else None, recorded.event)
    if folded is None:
        folded = FoldedOrder(
            id=UUID(int=recorded.stream_id.int),  # the driver's own UUID class is no JSON to orjson
            number=order_number(recorded.position, recorded.partition, partitions),
            partition=recorded.partition,
            version=recorded.version,
            order=order,
            created_at=recorded.recorded_at,
            updated_at=recorded.recorded_at,
        )
    return replace(
        folded,
        version=recorded.version,
        order=order,
        updated_at=recorded.recorded_at,
        commands=_with_command(folded.commands, recorded),
    )


def _with_command(
    commands: Mapping[CommandKey, AnsweredCommand], recorded: RecordedEvent
) -> Mapping[CommandKey, AnsweredCommand]:
    metadata = recorded.metadata
    if metadata.key is None or metadata.fingerprint is None or metadata.actor_id is None:
        return commands
    answered = AnsweredCommand(metadata.fingerprint, recorded.version)
    return {**commands, (metadata.actor_id, metadata.key): answered}


def fold_stored(
    stored: Iterable[StoredEvent],
    partitions: int,
    folded: FoldedOrder | None = None,
    *,
    skipping: bool = False,
) -> FoldedOrder | None:
    """A whole stream, or more of one; `UnreadableEvent` if today's code fails on an event of it."""
    for row in stored:
        recorded = decode(row)
        try:
            folded = fold(folded, recorded, partitions, skipping=skipping)
        except (AssertionError, LookupError, ArithmeticError, TypeError, ValueError) as error:
            raise UnreadableEvent(
                "order-unreadable",
                f"Event {row.type} at partition {row.partition}, position {row.position} "
                f"does not fit the order before it.",
                partition=row.partition,
                position=row.position,
                stream_id=str(row.stream_id),
            ) from error
    return folded
