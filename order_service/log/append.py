"""An append: the events of a command, as arguments of the SQL function `append` and as recorded
events."""

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
    """Free text, stored beside the events; an event has its `text_id` only."""

    text_id: UUID
    kind: str
    body: str


@immutable
class Append:
    """Events of one or more commands, recorded if the order's version is still that of `before`.

    `metadata`: one for all events, or one for each. `after`: the state after the events, if it is
    already computed.
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
        metadata = self.metadata
        return [metadata] * len(self.events) if isinstance(metadata, Metadata) else metadata


@dataclass(slots=True)
class Encoded:
    """An append, encoded once: every attempt has the same event ids.

    `size`: the events' bytes, metadata included.
    """

    append: Append
    partition: int
    event_ids: list[UUID]
    payloads: list[str]
    metadata: list[str]
    size: int


def encode(append: Append, partitions: int) -> Encoded:
    """Raises InvalidRequest if one event, or all of them together, exceed the log's limits."""
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
            f"The order's items take more than {size_max} bytes: send fewer or smaller items.",
            max_bytes=size_max,
        )


def _encode_metadata(append: Append) -> list[str]:
    if isinstance(append.metadata, Metadata):
        return [codec.encode_metadata(append.metadata)] * len(append.events)
    assert len(append.metadata) == len(append.events)
    encoded: list[str] = []
    before = None
    for metadata in append.metadata:  # the events of one command share one object
        encoded.append(encoded[-1] if metadata is before else codec.encode_metadata(metadata))
        before = metadata
    return encoded


def arguments(batch: Sequence[Encoded]) -> list[Sequence[Any]]:
    """The eighteen arrays for the SQL function `append`: the columns of the commands, events,
    references and texts."""
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
        for order_text in append.texts:
            texts.append((number, order_text.text_id, order_text.kind, order_text.body))
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
        "You have already placed an order with this external_reference: see existing_order.",
        **facts,
    )
