"""The fast path of the live loop: a batch of partitions and all projections in one transaction.

It reads and folds an event once for all projections, and all checkpoints of a pass share its
statements. It moves ordinary checkpoints only. Checkpoints with a suspect, a parked stream, a skip
or another version, and those of a failed pass, are left to `advance`, which moves each one alone
and, if needed, event by event. So each projection and partition still has its own checkpoint, and
parks and fails alone (P8).
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
from projections.loop.checkpoints import LockedCheckpoint, Pair, lock_behind, move
from projections.loop.pauses import pauses
from projections.loop.rows import Stream, project, read_new, read_old
from projections.read_models.projection import Rows, Target, write
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)

Parts = dict[str, list[tuple[Target, Rows]]]  # by projection

_task_numbers = count()  # of this worker process


@immutable
class Span:
    """Checkpoints of one partition at the same position `after`, to be moved to `up_to`."""

    partition: int
    after: int
    up_to: int
    targets: Sequence[Target]


class Batches:
    """One task's work. After `run`, `one_by_one` holds the checkpoints left to `advance`."""

    def __init__(self, engine: AsyncEngine, cache: OrderCache) -> None:
        self.one_by_one: set[Pair] = set()
        self._engine = engine
        self._cache = cache
        self._held: list[LockedCheckpoint] = []  # the checkpoints of the current pass

    async def run(self) -> bool:
        """False: every live checkpoint is at the log's head, locked by another worker, or in
        `one_by_one`. True: ADVANCE_TIME_S is up, so the caller sends another task.

        Raises errors that occur before any checkpoint is locked.
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
                self.one_by_one.update(held.pair for held in self._held)  # continue without them

    async def _passes(self, deadline: float) -> bool:
        """Drains the batches of partitions in turn; returns as `run`."""
        async with driver_connection(self._engine) as (connection, driver):
            batches = _batches(await driver.fetchval("SELECT count(*) FROM partitions"))
            # Each task starts one batch further on, so that a busy log starves no batch.
            ring, idle = islice(cycle(batches), next(_task_numbers) % len(batches), None), 0
            # The final passes that find nothing read after the last commit. Another worker may have
            # returned because of our locks; the events of its hint were committed before them.
            while idle < len(batches):
                idle = 0 if await self._pass(connection, driver, next(ring)) else idle + 1
                if not idle and time.monotonic() >= deadline:
                    return True
        return False

    async def _pass(
        self, connection: AsyncConnection, driver: asyncpg.Connection, partitions: Sequence[int]
    ) -> bool:
        """One transaction; True if it has moved a checkpoint."""
        self._held = []
        began = time.time()
        async with driver.transaction():
            self._held = self._select_ordinary(await lock_behind(driver, partitions))
            spans = list(_spans(self._held))
            if not spans:
                return False
            new = await read_new(driver, ((s.partition, s.after, s.up_to) for s in spans))
            streams = await read_old(driver, new)
            done = self._project(spans, streams)
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

    def _select_ordinary(
        self, candidates: Iterable[tuple[LockedCheckpoint, bool]]
    ) -> list[LockedCheckpoint]:
        """The checkpoints that can share a transaction; the others, unless paused, are added to
        `one_by_one`."""
        kept = []
        for held, ordinary in candidates:
            if held.pair in self.one_by_one or pauses.is_paused(*held.pair):
                continue
            if ordinary and not held.replay_needed:
                kept.append(held)
            else:
                self.one_by_one.add(held.pair)
        return kept

    def _project(
        self, spans: Iterable[Span], streams: Mapping[int, Sequence[Stream]]
    ) -> list[tuple[Span, dict[str, Rows]]]:
        """The spans that move, with their rows. A partition with a failing stream is added to
        `one_by_one`: `advance` finds the event that fails."""
        done = []
        for span in spans:
            by_name = project(span.targets, streams[span.partition])
            if any(projected.failing for projected in by_name.values()):
                self.one_by_one.update((name, span.partition) for name in by_name)
            else:
                done.append((span, {name: projected.rows for name, projected in by_name.items()}))
        return done

    async def _refresh(self, parts: Parts) -> None:
        """The cache holds no order older than the committed rows."""
        for name, of_name in parts.items():
            for target, _ in of_name:
                pauses.end(name, target.partition)
            if refresh := PROJECTIONS[name].refresh:
                rows = {key: row for _, of_target in of_name for key, row in of_target.items()}
                await refresh(self._cache, rows)


def _batches(partitions: int) -> list[list[int]]:
    size = limits.ADVANCE_PARTITIONS
    return [[*range(first, min(first + size, partitions))] for first in range(0, partitions, size)]


def _spans(held: Sequence[LockedCheckpoint]) -> Iterator[Span]:
    """For each partition, its last checkpoints, to be moved up to the next one's position. So the
    checkpoints of a partition meet at one position and stay together."""
    grouped = groupby(held, key=lambda one: one.target.partition)
    by_partition = {partition: [*of] for partition, of in grouped}
    for partition, of in by_partition.items():
        after = min(one.position for one in of)
        goal = min([one.position for one in of if one.position > after] + [of[0].head])
        up_to = min(after + limits.ADVANCE_BATCH_EVENTS // len(by_partition), goal)
        yield Span(partition, after, up_to, [one.target for one in of if one.position == after])


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
