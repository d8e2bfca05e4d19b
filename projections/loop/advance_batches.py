"""The common case of the live loop, fast: a batch of partitions and all projections in one
transaction.

Here an event is read and folded once for all projections, and the statements around a step are
shared by all checkpoints that move in it. That is for ordinary checkpoints only: whatever is
suspect, parked, skipped or of another version, and every error, is left to `advance`, one
checkpoint by one, and event by event where it must. So each projection and partition still has its
own checkpoint, and parks and fails alone (P8).
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, cycle, groupby, islice

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.domain.immutable import immutable
from order_service.infra import failpoints
from order_service.infra.postgres import driver_connection
from order_service.relay.message import trace_events
from order_service.telemetry import tracing
from order_service.telemetry.metrics import PROJECTED
from projections.loop.checkpoints import Held, Pair, move, take_behind
from projections.loop.pauses import pauses
from projections.loop.rows import Stream, project, read_new, read_old
from projections.read_models.projection import Rows, Target, write
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)

Parts = dict[str, list[tuple[Target, Rows]]]  # by projection

_rounds = count()  # of this worker process


@immutable
class Span:
    """Checkpoints of one partition that stand at the same position, and how far they will go."""

    partition: int
    after: int
    up_to: int
    targets: Sequence[Target]


class Batches:
    """One task's work. What it leaves to `advance` is in `one_by_one`, once `run` has returned."""

    def __init__(self, engine: AsyncEngine, cache: OrderCache) -> None:
        self.one_by_one: set[Pair] = set()
        self._engine = engine
        self._cache = cache
        self._held: list[Held] = []  # what the pass works on

    async def run(self) -> bool:
        """Every live checkpoint is at the log's head, held by another worker, or in `one_by_one`;
        or ADVANCE_TIME_S is up: then True, and the caller sends another task.

        Raises what happens before any checkpoint is held.
        """
        await failpoints.reach("advance-begun")
        deadline = time.monotonic() + limits.ADVANCE_TIME_S
        while True:
            self._held = []
            try:
                return await self._passes(deadline)
            except Exception as error:
                if not self._held:
                    raise
                logger.warning("Combined batch failed; retrying each checkpoint alone: %r", error)
                self.one_by_one.update(held.pair for held in self._held)  # the others go on

    async def _passes(self, deadline: float) -> bool:
        """Drains the batches of partitions in turn, as `run`."""
        async with driver_connection(self._engine) as (connection, driver):
            batches = _batches(await driver.fetchval("SELECT count(*) FROM partitions"))
            # Each round begins one further on, or a busy log would keep the last ones waiting.
            ring, idle = islice(cycle(batches), next(_rounds) % len(batches), None), 0
            # The passes that find nothing are the look after the last commit: a worker that found
            # our locks taken brought a hint of events that were committed before it.
            while idle < len(batches):
                idle = 0 if await self._pass(connection, driver, next(ring)) else idle + 1
                if not idle and time.monotonic() >= deadline:
                    return True
        return False

    async def _pass(
        self, connection: AsyncConnection, driver: asyncpg.Connection, partitions: Sequence[int]
    ) -> bool:
        """One transaction; False if it has moved nothing."""
        self._held = []
        began = time.time()
        async with driver.transaction():
            self._held = self._ordinary(await take_behind(driver, partitions))
            spans = list(_spans(self._held))
            if not spans:
                return False
            new = await read_new(driver, ((s.partition, s.after, s.up_to) for s in spans))
            streams = await read_old(driver, new)
            done = self._projected(spans, streams)
            parts = _by_projection(done)
            await write(connection, *parts.values())
            await failpoints.reach("advance-written")
            if done:
                await move(connection, [(t, span.up_to) for span, _ in done for t in span.targets])
            await failpoints.reach("advance-moved")
        await failpoints.reach("advance-committed")
        _count(span for span, _ in done)
        with tracing.span("refresh cache"):
            await self._refresh(parts)
        if tracing.is_on():
            for stream in (s for of_partition in streams.values() for s in of_partition):
                trace_events("project", "CONSUMER", began, stream.new)
        await failpoints.reach("advance-told")
        return bool(done)

    def _ordinary(self, found: Iterable[tuple[Held, bool]]) -> list[Held]:
        """Those that can share a transaction; the others go one by one, once their pause ends."""
        kept = []
        for held, ordinary in found:
            if held.pair in self.one_by_one or pauses.holds(*held.pair):
                continue
            if ordinary and not held.replay_needed:
                kept.append(held)
            else:
                self.one_by_one.add(held.pair)
        return kept

    def _projected(
        self, spans: Iterable[Span], streams: Mapping[int, Sequence[Stream]]
    ) -> list[tuple[Span, dict[str, Rows]]]:
        """The spans that move, with their rows. A partition with a stream that fails goes one by
        one: there it is found which event is to blame."""
        done = []
        for span in spans:
            found = project(span.targets, streams[span.partition])
            if any(projected.failing for projected in found.values()):
                self.one_by_one.update((name, span.partition) for name in found)
            else:
                done.append((span, {name: projected.rows for name, projected in found.items()}))
        return done

    async def _refresh(self, parts: Parts) -> None:
        """The cache holds nothing older than what was committed."""
        for name, of_name in parts.items():
            for target, _ in of_name:
                pauses.end(name, target.partition)
            if refresh := PROJECTIONS[name].refresh:
                rows = {key: row for _, found in of_name for key, row in found.items()}
                await refresh(self._cache, rows)


def _batches(partitions: int) -> list[list[int]]:
    size = limits.ADVANCE_PARTITIONS
    return [[*range(first, min(first + size, partitions))] for first in range(0, partitions, size)]


def _spans(held: Sequence[Held]) -> Iterator[Span]:
    """Of each partition the checkpoints that are furthest behind, up to where the next one stands:
    so they come together and stay together."""
    by_partition = groupby(held, key=lambda one: one.target.partition)
    behind = {partition: [*found] for partition, found in by_partition}
    for partition, found in behind.items():
        after = min(one.position for one in found)
        goal = min([one.position for one in found if one.position > after] + [found[0].head])
        up_to = min(after + limits.ADVANCE_BATCH_EVENTS // len(behind), goal)
        yield Span(partition, after, up_to, [o.target for o in found if o.position == after])


def _by_projection(done: Iterable[tuple[Span, Mapping[str, Rows]]]) -> Parts:
    parts: Parts = defaultdict(list)
    for span, rows in done:
        for target in span.targets:
            parts[target.projection.name].append((target, rows[target.projection.name]))
    return parts


def _count(spans: Iterable[Span]) -> None:
    for span in spans:
        for target in span.targets:
            PROJECTED[target.projection.name].inc(span.up_to - span.after)
