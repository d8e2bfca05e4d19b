"""The common case of the live loop, fast: several partitions and all projections in one
transaction.

Here an event is read and folded once for all projections, and the statements around a batch are
shared by all checkpoints that move in it. That is for checkpoints with nothing special about them
alone, and judges nothing: whatever is suspect, parked, skipped or of another version, and every
error, is left to `advance`, which goes checkpoint by checkpoint and event by event where it must.
So each projection and partition still has its own checkpoint, and parks and fails alone (P8).
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, cycle, groupby, islice
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.domain.immutable import immutable
from order_service.infra import failpoints
from order_service.infra.postgres import driver_connection
from order_service.log.codec import StoredEvent
from order_service.log.fold import fold_stored
from order_service.relay.message import trace_events
from order_service.telemetry import tracing
from order_service.telemetry.metrics import PROJECTED
from projections.loop.advance import pauses
from projections.read_models.projection import Change, Projection, Rows, Target, write
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)

Pair = tuple[str, int]  # projection and partition
Streams = dict[int, list[tuple[list[StoredEvent], list[StoredEvent]]]]
Made = dict[str, list[tuple[Target, Rows]]]  # by projection

_turns = count()  # of this worker process

# Every checkpoint of these partitions that is behind and free. `ordinary`: nothing is special.
_TAKE = """
    SELECT c.name, c.partition, c.generation, c.position, p.position AS head,
           m.projection_version,
           (SELECT count(*) FROM partitions) AS partitions,
           c.suspect_position IS NULL
           AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.name = c.name
                           AND d.generation = c.generation AND d.partition = c.partition)
           AND NOT EXISTS (SELECT FROM skips s WHERE s.name = c.name AND s.partition = c.partition)
           AS ordinary
    FROM checkpoints c
    JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation
    JOIN partitions p ON p.partition = c.partition
    WHERE c.partition = ANY ($1::smallint[]) AND c.position < p.position
    ORDER BY c.partition, c.name FOR UPDATE OF c SKIP LOCKED
"""
_COLUMNS = (
    "e.partition, e.position, e.stream_id, e.version, e.event_id, e.type, e.schema_version, "
    "e.data::text, e.metadata::text, e.recorded_at"
)
# OFFSET 0: each partition and stream by its index, however many the planner expects.
_EVENTS = (
    "SELECT r.* FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS b (partition, a, u) "  # noqa: S608
    f"CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM events e WHERE e.partition = b.partition "
    "AND e.position > b.a AND e.position <= b.u ORDER BY e.position OFFSET 0) r"
)
_OLDER = (
    "SELECT r.* FROM unnest($1::smallint[], $2::uuid[], $3::integer[]) AS s (partition, id, v) "  # noqa: S608
    f"CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM events e WHERE e.partition = s.partition "
    "AND e.stream_id = s.id AND e.version < s.v ORDER BY e.version OFFSET 0) r"
)
_MOVE = """
    UPDATE checkpoints c SET position = b.up_to, moved_at = clock_timestamp()
    FROM unnest($1::text[], $2::integer[], $3::smallint[], $4::bigint[])
        AS b (name, generation, partition, up_to)
    WHERE c.name = b.name AND c.generation = b.generation AND c.partition = b.partition
"""


@immutable
class Taken:
    """A checkpoint whose row this transaction has locked, behind the log's head of that time."""

    target: Target
    position: int
    head: int

    @property
    def pair(self) -> Pair:
        return self.target.projection.name, self.target.partition


@immutable
class Span:
    """Checkpoints of one partition that stand at the same position, and how far they will go."""

    partition: int
    after: int
    up_to: int
    members: Sequence[Taken]

    @property
    def partitions(self) -> int:
        return self.members[0].target.partitions


class Together:
    """One task's work. What it leaves to `advance` is in `apart`, once `run` has returned."""

    def __init__(self, engine: AsyncEngine, cache: OrderCache) -> None:
        self.apart: set[Pair] = set()
        self._engine = engine
        self._cache = cache
        self._taken: list[Taken] = []  # what the pass works on

    async def run(self) -> bool:
        """Every live checkpoint is at the log's head, in the hands of another worker, or in
        `apart`; or ADVANCE_TIME_S is up: then True, and the caller asks for another turn.

        Raises what happens before anything is taken.
        """
        await failpoints.reach("advance-begun")
        deadline = time.monotonic() + limits.ADVANCE_TIME_S
        while True:
            self._taken = []
            try:
                return await self._passes(deadline)
            except Exception as error:
                if not self._taken:
                    raise
                logger.warning("One by one, since together it failed: %r", error)
                self.apart.update(taken.pair for taken in self._taken)  # the others go on

    async def _passes(self, deadline: float) -> bool:
        """Round the partitions, as `run`."""
        async with driver_connection(self._engine) as (connection, driver):
            groups = _groups(await driver.fetchval("SELECT count(*) FROM partitions"))
            # Each turn begins one further on, or a busy log would keep the last ones waiting.
            ring, idle = islice(cycle(groups), next(_turns) % len(groups), None), 0
            # The passes that find nothing are the look after the last commit: whoever was turned
            # away by our locks brought news of events that were committed before it.
            while idle < len(groups):
                idle = 0 if await self._pass(connection, driver, next(ring)) else idle + 1
                if not idle and time.monotonic() >= deadline:
                    return True
        return False

    async def _pass(
        self, connection: AsyncConnection, driver: asyncpg.Connection, partitions: Sequence[int]
    ) -> bool:
        """One transaction; False if it has moved nothing."""
        self._taken = []
        began = time.time()
        async with driver.transaction():
            self._taken = self._ordinary(await driver.fetch(_TAKE, partitions))
            spans = list(_spans(self._taken))
            if not spans:
                return False
            streams = await _streams(driver, spans)
            made = self._made(spans, streams)
            await write(connection, *made.values())
            await failpoints.reach("advance-written")
            await _move(driver, spans, made)
            await failpoints.reach("advance-moved")
        await failpoints.reach("advance-committed")
        self._count(spans)
        with tracing.span("refresh cache"):
            await self._tell(made)
        if tracing.is_on():
            for of_it in streams.values():
                for _, new in of_it:
                    trace_events("project", "CONSUMER", began, new)
        await failpoints.reach("advance-told")
        return bool(made)

    def _ordinary(self, rows: Iterable[asyncpg.Record]) -> list[Taken]:
        """Those that can go together; others are left apart, or alone while they pause."""
        taken = []
        for row in rows:
            pair = row["name"], row["partition"]
            projection = PROJECTIONS.get(row["name"])
            if projection is None or pair in self.apart or pauses.holds(*pair):
                continue
            if row["ordinary"] and row["projection_version"] == projection.version:
                target = Target(projection, row["generation"], row["partition"], row["partitions"])
                taken.append(Taken(target, row["position"], row["head"]))
            else:
                self.apart.add(pair)
        return taken

    def _made(self, spans: Iterable[Span], streams: Streams) -> Made:
        """The rows of every checkpoint that moves. A partition with an event that cannot be applied
        is left apart: there it is found which stream must wait."""
        made: Made = defaultdict(list)
        for span in spans:
            try:
                changes = [
                    _change(old, new, span.partitions) for old, new in streams[span.partition]
                ]
                rows = [_rows(taken.target.projection, changes) for taken in span.members]
            except MemoryError:
                raise
            except Exception:  # whatever upcast, evolve or a projection raises
                self.apart.update(taken.pair for taken in span.members)
                continue
            for taken, of_it in zip(span.members, rows, strict=True):
                made[taken.target.projection.name].append((taken.target, of_it))
        return made

    def _count(self, spans: Iterable[Span]) -> None:
        for span in spans:
            for taken in span.members:
                if taken.pair not in self.apart:
                    PROJECTED.add(span.up_to - span.after, taken.target.projection.name)

    async def _tell(self, made: Made) -> None:
        """The cache holds nothing older than what was committed."""
        for name, parts in made.items():
            for target, _ in parts:
                pauses.end(name, target.partition)
            if refresh := PROJECTIONS[name].refresh:
                await refresh(self._cache, {k: row for _, rows in parts for k, row in rows.items()})


def _groups(partitions: int) -> list[list[int]]:
    size = limits.ADVANCE_PARTITIONS
    return [[*range(first, min(first + size, partitions))] for first in range(0, partitions, size)]


def _spans(taken: Sequence[Taken]) -> Iterator[Span]:
    """Of each partition the checkpoints that are furthest behind, up to where the next one stands:
    so they come together and stay together."""
    by_partition = groupby(taken, key=lambda one: one.target.partition)
    behind = {partition: [*found] for partition, found in by_partition}
    for partition, of_it in behind.items():
        after = min(one.position for one in of_it)
        goal = min([one.position for one in of_it if one.position > after] + [of_it[0].head])
        members = [one for one in of_it if one.position == after]
        up_to = min(after + limits.ADVANCE_BATCH_EVENTS // len(behind), goal)
        yield Span(partition, after, up_to, members)


async def _streams(driver: asyncpg.Connection, spans: Sequence[Span]) -> Streams:
    """By partition, each stream that has events there: the events before, and those."""
    rows = await driver.fetch(
        _EVENTS, [s.partition for s in spans], [s.after for s in spans], [s.up_to for s in spans]
    )
    new: dict[UUID, list[StoredEvent]] = defaultdict(list)
    for row in rows:
        new[row["stream_id"]].append(StoredEvent(*row))
    begun = [events[0] for events in new.values() if events[0].version > 1]
    old: dict[UUID, list[StoredEvent]] = defaultdict(list)
    if begun:
        places = zip(*((one.partition, one.stream_id, one.version) for one in begun), strict=True)
        for row in await driver.fetch(_OLDER, *map(list, places)):
            old[row["stream_id"]].append(StoredEvent(*row))
    streams: Streams = defaultdict(list)
    for stream_id, events in new.items():
        streams[events[0].partition].append((old.get(stream_id, []), events))
    return streams


def _change(old: list[StoredEvent], new: list[StoredEvent], partitions: int) -> Change:
    before = fold_stored(old, partitions)
    after = fold_stored(new, partitions, before)
    assert after is not None
    return before, after


def _rows(projection: Projection, changes: Iterable[Change]) -> Rows:
    rows: Rows = {}
    for change in changes:
        projection.merge(rows, projection.rows(change))
    return rows


async def _move(driver: asyncpg.Connection, spans: Iterable[Span], made: Made) -> None:
    goals = {span.partition: span.up_to for span in spans}
    moves = [
        (target.projection.name, target.generation, target.partition, goals[target.partition])
        for parts in made.values()
        for target, _ in parts
    ]
    if moves:
        await driver.execute(_MOVE, *map(list, zip(*moves, strict=True)))
