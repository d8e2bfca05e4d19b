"""Checks the invariants of promises.md, section 1, once the bench is quiet. The evidence is the
journal, the log, the tap, the read models and Redis.

Each check yields one line a finding; none if the promise holds.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from order_service.errors import UnreadableEvent
from order_service.log.codec import StoredEvent, decode_metadata
from order_service.log.fold import FoldedOrder, fold_stored
from tests.tools.faults.journal import Command
from tests.tools.faults.tail import Tail
from tests.tools.faults.tap import Published

CACHE_TTL_MAX_S = 300
NAMED_MAX = 5
# By kind of command: the events that one command makes, in one transaction; all alternatives.
EVENTS_OF: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "place": (("OrderPlaced",),),
    "PAID": (("PaymentCaptured", "OrderPaid"),),
    "SHIPPED": (("ShipmentDispatched", "OrderShipped"),),
    "DELIVERED": (("ShipmentDelivered", "OrderDelivered"),),
    "CANCELED": (("OrderCanceled",), ("OrderCanceled", "RefundRequested")),
    "line": (("OrderLineAdded",),),
    "note": (("OrderNoteAdded",),),
}
Digests = Mapping[tuple[int, int], bytes]  # by partition and position: the event's digest


@dataclass(frozen=True)
class Evidence:
    """`strangers`: streams that a row wrote itself. `before`: digests of the log at the end of the
    run before. `ttls`: of the cached orders, in seconds; -0.001: none. `differences`: what `verify`
    found.
    """

    commands: Mapping[str, Command]
    events: Sequence[StoredEvent]  # by partition and position
    partitions: int
    strangers: Set[UUID]
    before: Digests
    tap: Published
    tail: Tail
    ttls: Mapping[str, float]
    differences: Sequence[str]
    writers: Sequence[str]  # roles of processes that may change or delete events
    publishes_fail: bool

    @cached_property
    def streams(self) -> dict[UUID, list[StoredEvent]]:
        found: dict[UUID, list[StoredEvent]] = defaultdict(list)
        for event in self.events:
            found[event.stream_id].append(event)
        return found

    @cached_property
    def by_key(self) -> dict[str, list[StoredEvent]]:
        """The stored events by the key of their command."""
        found: dict[str, list[StoredEvent]] = defaultdict(list)
        for event in self.events:
            if event.stream_id in self.strangers:
                continue
            key = decode_metadata(event).key
            if key is not None:
                found[key].append(event)
        return found


def digests(events: Sequence[StoredEvent]) -> Digests:
    return {
        (event.partition, event.position): hashlib.sha256(repr(event).encode()).digest()
        for event in events
    }


# --- the write side -------------------------------------------------------------------------------


def acknowledged_is_stored(evidence: Evidence) -> Iterator[str]:
    """W1. A command that sets the order's present status makes no event: then the order must have
    reached that status.
    """
    for key, command in evidence.commands.items():
        stored = evidence.by_key.get(key, [])
        for granted in command.granted:
            answered = granted.order_id, granted.version
            if stored:
                if (stored[-1].stream_id, stored[-1].version) != answered:
                    yield f"{key}: answered version {granted.version}, stored {stored[-1]}"
            elif not _is_no_op(evidence, command.first.kind, *answered):
                yield f"{key}: {granted.kind} of order {granted.order_id} is not in the log"


def _is_no_op(evidence: Evidence, kind: str, order_id: UUID, version: int) -> bool:
    types = {event.type for event in evidence.streams.get(order_id, []) if event.version <= version}
    return kind.isupper() and any(types >= set(events) for events in EVENTS_OF[kind])


def stored_once_per_key(evidence: Evidence) -> Iterator[str]:
    """W2, W4: the log holds all events of a command once, one after another, and all repeats of the
    command got the same answer.
    """
    for key, command in evidence.commands.items():
        stored = evidence.by_key.get(key, [])
        if not stored:
            continue
        types = tuple(event.type for event in stored)
        if types not in EVENTS_OF[command.first.kind]:
            yield f"{key}: {command.first.kind} made {types}"
        first = stored[0]
        if [(e.stream_id, e.version) for e in stored] != [
            (first.stream_id, first.version + n) for n in range(len(stored))
        ]:
            yield f"{key}: its events do not follow each other: {stored}"
        answers = {(a.status, a.version, a.digest) for a in command.granted}
        if len(answers) > 1:
            yield f"{key}: repeats were answered differently: {answers}"


def nothing_else_is_stored(evidence: Evidence) -> Iterator[str]:
    """W3."""
    for key, stored in evidence.by_key.items():
        command = evidence.commands.get(key)
        if command is None:
            yield f"{key}: no customer sent it, but it is stored: {stored[0]}"
        elif command.outcome == "fail":
            yield f"{key}: refused with {command.first.status}, but it is stored: {stored[0]}"
    with_key = {event.event_id for stored in evidence.by_key.values() for event in stored}
    for event in evidence.events:
        if event.event_id not in with_key and event.stream_id not in evidence.strangers:
            yield f"no customer sent {event}"


def streams_and_positions_are_dense(evidence: Evidence) -> Iterator[str]:
    """W5, and the positions of a partition."""
    for stream_id, stream in evidence.streams.items():
        if [event.version for event in stream] != [*range(1, len(stream) + 1)]:
            yield f"order {stream_id}: versions {[event.version for event in stream]}"
    positions: dict[int, list[int]] = defaultdict(list)
    for event in evidence.events:
        positions[event.partition].append(event.position)
    for partition, numbers in positions.items():
        if numbers != [*range(1, len(numbers) + 1)]:
            yield f"partition {partition}: its {len(numbers)} positions are not dense"


def no_update_is_lost(evidence: Evidence) -> Iterator[str]:
    """W6: the events of a command with an expected version follow that version."""
    for key, command in evidence.commands.items():
        expected, stored = command.first.expected, evidence.by_key.get(key, [])
        if expected is not None and stored and stored[0].version != expected + 1:
            yield f"{key}: expected version {expected}, stored as {stored[0].version}"


def events_never_change(evidence: Evidence) -> Iterator[str]:
    """W7."""
    now = digests(evidence.events)
    for position, digest in evidence.before.items():
        if now.get(position) != digest:
            yield f"partition and position {position}: the event has changed"
    for role in evidence.writers:
        yield f"{role} may change or delete events"


def histories_are_legal(evidence: Evidence) -> Iterator[str]:
    """W8."""
    for stream_id, stream in evidence.streams.items():
        if stream_id in evidence.strangers:
            continue
        try:
            folded = fold_stored(stream, evidence.partitions)
        except UnreadableEvent as error:
            yield f"order {stream_id}: {error.detail}"
            continue
        assert folded is not None
        if folded.order.total_minor != _sum_of_lines(folded):
            yield f"order {stream_id}: its total is not the sum of its lines"


def _sum_of_lines(folded: FoldedOrder) -> int:
    lines = folded.order.lines.values()
    return sum((s.line.unit_price_minor or 0) * (s.line.quantity - s.canceled) for s in lines)


def what_was_seen_still_stands(evidence: Evidence) -> Iterator[str]:
    """W9, and the other findings of the tail: M3, C1."""
    yield from evidence.tail.wrong
    stored: dict[int, list[UUID]] = defaultdict(list)
    for event in evidence.events:
        stored[event.partition].append(event.event_id)
    for partition, seen in evidence.tail.seen.items():
        if stored[partition][: len(seen)] != seen:
            yield f"partition {partition}: a reader saw other events than the log holds now"


# --- the way out ----------------------------------------------------------------------------------


def everything_is_published(evidence: Evidence) -> Iterator[str]:
    """R1, R5."""
    stored = {event.event_id for event in evidence.events}
    missing = stored - evidence.tap.published.keys() - evidence.tap.excused
    if evidence.tap.blind:
        evidence.tap.excused |= missing
        missing = set()
    if missing:
        yield f"{len(missing)} events were never published: {[*missing][:NAMED_MAX]}"
    if phantoms := evidence.tap.published.keys() - stored:
        yield f"{len(phantoms)} events were published that are not in the log"


def published_in_order(evidence: Evidence) -> Iterator[str]:
    """R3; a failed publish may break the order."""
    if not evidence.publishes_fail:
        yield from evidence.tap.disorder


# --- read models and cache ------------------------------------------------------------------------


def read_models_equal_the_log(evidence: Evidence) -> Iterator[str]:
    """M1, and the cached orders."""
    yield from evidence.differences


def cached_orders_expire(evidence: Evidence) -> Iterator[str]:
    """C2."""
    for key, ttl_s in evidence.ttls.items():
        if not 0 <= ttl_s <= CACHE_TTL_MAX_S:
            yield f"{key} expires in {ttl_s} s"


Check = Callable[[Evidence], Iterator[str]]
CHECKS: Mapping[str, Check] = {
    "W1": acknowledged_is_stored,
    "W2, W4": stored_once_per_key,
    "W3": nothing_else_is_stored,
    "W5": streams_and_positions_are_dense,
    "W6": no_update_is_lost,
    "W7": events_never_change,
    "W8": histories_are_legal,
    "W9, M3, C1": what_was_seen_still_stands,
    "R1, R5": everything_is_published,
    "R3": published_in_order,
    "M1": read_models_equal_the_log,
    "C2": cached_orders_expire,
}


def findings(evidence: Evidence) -> dict[str, list[str]]:
    """The findings by promise; broken promises only."""
    found = {name: [*check(evidence)] for name, check in CHECKS.items()}
    return {name: lines for name, lines in found.items() if lines}
