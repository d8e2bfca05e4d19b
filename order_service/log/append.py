"""One command's outcome on its way into the log: as the SQL function `append` takes it, and as the
events that are recorded then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from order_service import limits
from order_service.domain.events import OrderEvent
from order_service.domain.immutable import immutable
from order_service.domain.state import Order
from order_service.errors import InvalidRequest, RuleViolation
from order_service.ids import uuid4
from order_service.log import codec, reading
from order_service.log.codec import Metadata, RecordedEvent
from order_service.log.fold import FoldedOrder, fold_recorded


@immutable
class OrderText:
    """Free text beside the events, which only point at it."""

    text_id: UUID
    kind: str
    body: str


@immutable
class Append:
    """One command's outcome, or that of many, to be recorded if the order still stands at `before`.

    `metadata`: of all events, or one for each. `after`: the state after them, if known already.
    """

    stream_id: UUID
    before: FoldedOrder | None
    events: tuple[OrderEvent, ...]
    metadata: Metadata | tuple[Metadata, ...]
    reference: tuple[UUID, str] | None = None
    texts: tuple[OrderText, ...] = ()
    after: Order | None = None

    @property
    def expected_version(self) -> int:
        return self.before.version if self.before else 0

    @property
    def metadata_of_each(self) -> Sequence[Metadata]:
        found = self.metadata
        return [found] * len(self.events) if isinstance(found, Metadata) else found


@dataclass(slots=True)
class Encoded:
    """An append, encoded once; its event ids hold through every attempt.

    `size`: bytes of its events.
    """

    append: Append
    partition: int
    event_ids: list[UUID]
    payloads: list[str]
    metadata: list[str]
    size: int


def encode(append: Append, partitions: int) -> Encoded:
    """Raises InvalidRequest where an event, or all of them, are larger than the log takes."""
    assert append.events, "a command that changes nothing is not appended"
    payloads = [codec.encode(event) for event in append.events]
    metadata = _encode_metadata(append)
    sizes = [len(p) if p.isascii() else len(p.encode()) for p in payloads]
    size = sum(sizes) + sum(map(len, metadata))
    _check(max(sizes), limits.EVENT_BYTES_MAX)
    _check(size, limits.APPEND_BATCH_BYTES_MAX)
    return Encoded(
        append,
        reading.partition_of(append.stream_id, partitions),
        [uuid4() for _ in append.events],
        payloads,
        metadata,
        size,
    )


def _check(size: int, size_max: int) -> None:
    if size > size_max:
        raise InvalidRequest(
            "content-too-large",
            f"The order's items come to more than {size_max} bytes.",
            max_bytes=size_max,
        )


def _encode_metadata(append: Append) -> list[str]:
    if isinstance(append.metadata, Metadata):
        return [codec.encode_metadata(append.metadata)] * len(append.events)
    assert len(append.metadata) == len(append.events)
    encoded: list[str] = []
    before = None
    for metadata in append.metadata:  # the events of one command share theirs
        encoded.append(encoded[-1] if metadata is before else codec.encode_metadata(metadata))
        before = metadata
    return encoded


def arguments(batch: Sequence[Encoded]) -> list[Sequence[Any]]:
    """The eighteen arrays of the SQL function `append`: of commands, events, references, texts."""
    commands: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    references: list[tuple[Any, ...]] = []
    texts: list[tuple[Any, ...]] = []
    for number, encoded in enumerate(batch, start=1):
        append = encoded.append
        version = append.expected_version
        commands.append((encoded.partition, append.stream_id, version, len(append.events)))
        each = zip(
            encoded.event_ids, append.events, encoded.payloads, encoded.metadata, strict=True
        )
        for event_id, event, payload, metadata in each:
            version += 1
            kind, schema = type(event).__name__, event.SCHEMA_VERSION
            events.append((number, version, event_id, kind, schema, payload, metadata))
        if append.reference is not None:
            references.append((number, *append.reference))
        for note in append.texts:
            texts.append((number, note.text_id, note.kind, note.body))
    return [
        *_columns(commands, 4),
        *_columns(events, 7),
        *_columns(references, 3),
        *_columns(texts, 4),
    ]


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * count


def recorded(encoded: Encoded, first_position: int, at: datetime) -> list[RecordedEvent]:
    """The append's events as the log records them."""
    append = encoded.append
    each = zip(encoded.event_ids, append.events, append.metadata_of_each, strict=True)
    version = append.expected_version
    return [
        RecordedEvent(
            encoded.partition,
            first_position + offset,
            append.stream_id,
            version + 1 + offset,
            event_id,
            event,
            metadata,
            at,
        )
        for offset, (event_id, event, metadata) in enumerate(each)
    ]


def order_after(append: Append, events: Sequence[RecordedEvent], partitions: int) -> FoldedOrder:
    """The order after the append's events."""
    return fold_recorded(append.before, events, partitions, append.after)


def duplicate_reference(**facts: object) -> RuleViolation:
    return RuleViolation(
        "duplicate-reference",
        "You have placed an order with this external_reference before: see existing_order.",
        **facts,
    )
