"""One command's outcome on its way into the log: as the SQL function `append` takes it, and as the
events that are recorded then. May import reading, fold, codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from order_service import settings as limits
from order_service.domain.events import OrderEvent
from order_service.errors import InvalidRequest, RuleViolation
from order_service.log import codec, reading
from order_service.log.codec import Metadata, RecordedEvent
from order_service.log.fold import FoldedOrder, fold


@dataclass(frozen=True, slots=True)
class OrderText:
    """Free text beside the events, which only point at it."""

    text_id: UUID
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Append:
    """One command's outcome, to be recorded if the order still stands at `before`."""

    stream_id: UUID
    before: FoldedOrder | None
    events: tuple[OrderEvent, ...]
    metadata: Metadata
    reference: tuple[UUID, str] | None = None
    texts: tuple[OrderText, ...] = ()

    @property
    def expected_version(self) -> int:
        return self.before.version if self.before else 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """An append, encoded once; its event ids hold through every attempt.

    `size`: bytes of its events.
    """

    append: Append
    partition: int
    event_ids: list[UUID]
    payloads: list[str]
    metadata: str
    size: int


def encode(append: Append, partitions: int) -> Encoded:
    """Raises InvalidRequest where an event is larger than the log takes."""
    assert append.events, "a command that changes nothing is not appended"
    payloads = [codec.encode(event) for event in append.events]
    metadata = codec.encode_metadata(append.metadata)
    sizes = [len(payload.encode()) for payload in payloads]
    if max(sizes) > limits.EVENT_BYTES_MAX:
        raise InvalidRequest(
            "content-too-large",
            f"The order's items come to more than {limits.EVENT_BYTES_MAX} bytes.",
            max_bytes=limits.EVENT_BYTES_MAX,
        )
    return Encoded(
        append,
        reading.partition_of(append.stream_id, partitions),
        [uuid4() for _ in append.events],
        payloads,
        metadata,
        sum(sizes) + len(metadata) * len(payloads),
    )


def arguments(batch: Sequence[Encoded]) -> list[list[Any]]:
    """The eighteen arrays of the SQL function `append`: commands, events, texts."""
    appends = [encoded.append for encoded in batch]
    commands: list[list[Any]] = [
        [encoded.partition for encoded in batch],
        [append.stream_id for append in appends],
        [append.expected_version for append in appends],
        [len(append.events) for append in appends],
        [encoded.event_ids[0] for encoded in batch],
        [append.reference[0] if append.reference else None for append in appends],
        [append.reference[1] if append.reference else None for append in appends],
    ]
    events: list[list[Any]] = [[], [], [], [], [], [], []]
    texts: list[list[Any]] = [[], [], [], []]
    for number, encoded in enumerate(batch, start=1):
        append = encoded.append
        for offset, event in enumerate(append.events):
            row = (
                number,
                append.expected_version + 1 + offset,
                encoded.event_ids[offset],
                type(event).__name__,
                event.SCHEMA_VERSION,
                encoded.payloads[offset],
                encoded.metadata,
            )
            for column, value in zip(events, row, strict=True):
                column.append(value)
        for note in append.texts:
            cells = (number, note.text_id, note.kind, note.body)
            for column, value in zip(texts, cells, strict=True):
                column.append(value)
    return [*commands, *events, *texts]


def recorded(encoded: Encoded, first_position: int, at: datetime) -> tuple[RecordedEvent, ...]:
    """The append's events as the log records them."""
    append = encoded.append
    return tuple(
        RecordedEvent(
            encoded.partition,
            first_position + offset,
            append.stream_id,
            append.expected_version + 1 + offset,
            encoded.event_ids[offset],
            event,
            append.metadata,
            at,
        )
        for offset, event in enumerate(append.events)
    )


def order_after(append: Append, events: Sequence[RecordedEvent], partitions: int) -> FoldedOrder:
    """The order after the append's events."""
    order = append.before
    for event in events:
        order = fold(order, event, partitions)
    assert order is not None
    return order


def duplicate_reference(**facts: object) -> RuleViolation:
    return RuleViolation(
        "duplicate-reference",
        "You have placed an order with this external_reference before: see existing_order.",
        **facts,
    )
