"""The loop that keeps read models up with the log: `advance`.

A hint says only "look"; what there is to do is read from checkpoint and head. A worker that loses
its checkpoint's lock to another goes away: the other looks at the head once more after it has let
the lock go, so what the first was told about is not forgotten.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.infra import failpoints
from order_service.infra.postgres import FAILURES
from order_service.log.reading import read_partition
from order_service.telemetry.metrics import PROJECTED
from projections.loop.step import is_data_error, park, step
from projections.read_models.projection import Projection, Rows, Target
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)

# The generation may change hands between this statement's snapshot and its lock. Then a batch goes
# to the generation that was live a moment ago: it is kept for a rollback, so that is as right.
_TAKE_LIVE = (
    "SELECT c.generation, c.position, c.suspect_position, c.suspect_tries, p.position AS head, "
    "m.projection_version, (SELECT count(*) FROM partitions) AS partitions FROM checkpoints c "
    "JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation "
    "JOIN partitions p ON p.partition = c.partition "
    "WHERE c.name = :name AND c.partition = :partition FOR UPDATE OF c"
)
_TAKE_IF_FREE = text(_TAKE_LIVE + " SKIP LOCKED")
_LOCK_LIVE = text(_TAKE_LIVE)
_LOCK_ANY = text(
    "SELECT c.position, p.position AS head FROM checkpoints c "
    "JOIN partitions p ON p.partition = c.partition WHERE c.name = :name "
    "AND c.generation = :generation AND c.partition = :partition FOR UPDATE OF c"
)
_IS_BEHIND = text(
    "SELECT c.position < p.position FROM checkpoints c "
    "JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation "
    "JOIN partitions p ON p.partition = c.partition "
    "WHERE c.name = :name AND c.partition = :partition"
)
_MOVE = text(
    "UPDATE checkpoints SET position = :up_to, moved_at = clock_timestamp(), "
    "suspect_position = NULL, suspect_tries = 0 "
    "WHERE name = :name AND generation = :generation AND partition = :partition"
)
_SUSPECT = text(
    "UPDATE checkpoints SET suspect_position = :suspect, suspect_tries = :tries "
    "WHERE name = :name AND generation = :generation AND partition = :partition"
)
_TRY_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, :partition))")
# One's own try, whoever has noted another one meanwhile; nothing where the checkpoint has gone on.
_SURVIVED = text(
    "UPDATE checkpoints SET suspect_tries = suspect_tries - 1 "
    "WHERE name = :name AND generation = :generation AND partition = :partition "
    "AND suspect_position = :suspect AND suspect_tries > 0"
)
# xmax: the last transaction that has locked this version of the row; is it still at work? Then it
# is among those that the snapshot names, or younger than all that it knows. (When transaction ids
# begin anew, a row may for a while pass for held: then the tick finds it.)
_BEHIND = (
    "SELECT c.name, c.partition, c.position, "
    "c.xmax::text::bigint < pg_snapshot_xmax(s.now)::text::bigint % 4294967296 "
    "AND c.xmax NOT IN (SELECT x::xid FROM pg_snapshot_xip(s.now) x) AS free "
    "FROM checkpoints c CROSS JOIN (SELECT pg_current_snapshot() AS now) s "
    "JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation "
    "JOIN partitions p ON p.partition = c.partition "
    "WHERE c.position < p.position ORDER BY c.name, c.partition"
)


@dataclass(frozen=True, slots=True)
class Behind:
    """A live checkpoint that the log has passed. Not `free`: a worker holds it, and will look at
    the head once more after it has let go; so nobody need tell it anything."""

    name: str
    partition: int
    position: int
    free: bool = field(compare=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint whose row this transaction has locked, and the log's head at that time."""

    target: Target
    position: int
    head: int
    suspect_position: int | None
    suspect_tries: int
    projection_version: int

    @property
    def suspected(self) -> bool:
        return self.suspect_position == self.position + 1


class Pauses:
    """Back-off of partitions that failed for a reason that lies in no stream."""

    def __init__(self) -> None:
        self._pauses: dict[tuple[str, int], tuple[int, float]] = {}  # failures, until (monotonic)

    def holds(self, name: str, partition: int) -> bool:
        return time.monotonic() < self._pauses.get((name, partition), (0, 0.0))[1]

    def begin(self, name: str, partition: int) -> None:
        failures = self._pauses.get((name, partition), (0, 0.0))[0]
        pause_s = limits.ADVANCE_BACKOFF_S[min(failures, len(limits.ADVANCE_BACKOFF_S) - 1)]
        self._pauses[name, partition] = (failures + 1, time.monotonic() + pause_s)

    def end(self, name: str, partition: int) -> None:
        self._pauses.pop((name, partition), None)

    def clear(self) -> None:
        self._pauses.clear()


Noted = dict[str, Any]  # a checkpoint, the event that is suspected there, and the tries so far

pauses = Pauses()  # of this worker process


async def behind(driver: asyncpg.Connection) -> list[Behind]:
    """Where this code has something to do, whether or not anybody was told."""
    rows = await driver.fetch(_BEHIND)
    return [Behind(*row) for row in rows if row["name"] in PROJECTIONS]


async def advance(
    engine: AsyncEngine,
    cache: OrderCache,
    projection_name: str,
    partition: int,
    redelivered: bool = False,
) -> bool:
    """The live generation is at the log's head, or another worker is at it, or ADVANCE_TIME_S is
    up: then True, and the caller asks for another turn.

    `redelivered`: an earlier worker may have died of one of the next events. Raises what no stream
    is to blame for (the database is away, far too many streams fail); for a while after that the
    partition is left alone.
    """
    if pauses.holds(projection_name, partition):
        return False
    deadline = time.monotonic() + limits.ADVANCE_TIME_S
    projection = PROJECTIONS[projection_name]
    try:
        while await _turn(engine, cache, projection, partition, redelivered):
            if time.monotonic() >= deadline:
                return True
    except Exception:
        pauses.begin(projection_name, partition)
        logger.error("%s stops in partition %d for a while.", projection_name, partition)
        raise
    return False


async def _turn(
    engine: AsyncEngine, cache: OrderCache, projection: Projection, partition: int, careful: bool
) -> bool:
    """One batch; True if there is more to do, here."""
    rows = await _batch(engine, projection, partition, careful)
    if rows is None:
        return False
    await failpoints.reach("advance-committed")
    pauses.end(projection.name, partition)
    if rows and projection.refresh:
        await projection.refresh(cache, rows)
    await failpoints.reach("advance-told")
    # After the commit, and without the lock: whoever was turned away by our lock brought news of
    # events that were committed before this look.
    async with engine.connect() as connection:
        key = {"name": projection.name, "partition": partition}
        return bool((await connection.execute(_IS_BEHIND, key)).scalar_one())


async def _batch(
    engine: AsyncEngine, projection: Projection, partition: int, careful: bool
) -> Rows | None:
    """Rows for the cache; None if the checkpoint is not ours to move."""
    singly = False
    noted: Noted | None = None
    async with AsyncExitStack() as exits:
        while True:  # at most three times: to note a suspect, in one piece, and event by event
            try:
                async with engine.begin() as connection:
                    held = await _take_if_free(connection, projection, partition)
                    if held is None:
                        break
                    if held.head <= held.position:
                        return {}
                    one = careful or held.suspect_position is not None
                    if one and noted is None:
                        if not await exits.enter_async_context(_alone(engine, held.target)):
                            return None
                        # Committed before the event is tried: if that kills us, the count stands.
                        noted = await _note_suspect(connection, held)
                        continue
                    limit = 1 if one else limits.ADVANCE_BATCH_EVENTS
                    return await _apply(connection, held, limit, singly)
            except BaseException as error:
                if isinstance(error, DBAPIError) and not singly and is_data_error(error):
                    singly = True
                    continue
                # A MemoryError may well be the event's own.
                if noted is not None and not isinstance(error, MemoryError):
                    await _note_survival(engine, noted)
                raise
        if noted is not None:  # whoever only looked had the checkpoint: nothing was tried
            await _note_survival(engine, noted)
        return None


@asynccontextmanager
async def _alone(engine: AsyncEngine, target: Target) -> AsyncIterator[bool]:
    """Whether nobody else is at an event of which a worker may have died, from its note to its
    outcome. Else those who meet there would take each other's tries for deaths.

    The lock ends with its session, so with its holder; that of one who is only paused ends by
    idle_in_transaction_session_timeout.
    """
    async with engine.connect() as connection:
        yield bool((await connection.execute(_TRY_ALONE, target.identity)).scalar_one())


async def _apply(connection: AsyncConnection, held: Held, limit: int, singly: bool) -> Rows:
    if held.suspected and held.suspect_tries > limits.SUSPECT_TRIES_MAX:
        await _park_suspect(connection, held)  # the step below then passes over its stream
    up_to = min(held.position + limit, held.head)
    rows = await step(connection, held.target, held.position, up_to, singly=singly)
    await failpoints.reach("advance-written")
    await move(connection, held.target, up_to)
    await failpoints.reach("advance-moved")
    PROJECTED.add(up_to - held.position, held.target.projection.name)
    return rows


async def _take_if_free(
    connection: AsyncConnection, projection: Projection, partition: int
) -> Held | None:
    held = await _take(connection, _TAKE_IF_FREE, projection, partition)
    if held is not None and held.projection_version != projection.version:
        logger.warning(
            "Replay needed: %s is live in version %d, this code has version %d. "
            "Run `./entrypoint.sh replay %s`.",
            projection.name,
            held.projection_version,
            projection.version,
            projection.name,
        )
        pauses.begin(projection.name, partition)
        return None
    return held


async def lock_live(connection: AsyncConnection, projection: Projection, partition: int) -> Held:
    """Waits for the live checkpoint (at most the connection's lock_timeout) and holds it."""
    held = await _take(connection, _LOCK_LIVE, projection, partition)
    assert held is not None, "every projection has a live checkpoint in every partition"
    return held


async def _take(
    connection: AsyncConnection, take: TextClause, projection: Projection, partition: int
) -> Held | None:
    key = {"name": projection.name, "partition": partition}
    row = (await connection.execute(take, key)).one_or_none()
    if row is None:
        return None
    return Held(
        Target(projection, row.generation, partition, row.partitions),
        row.position,
        row.head,
        row.suspect_position,
        row.suspect_tries,
        row.projection_version,
    )


async def move(connection: AsyncConnection, target: Target, up_to: int) -> None:
    """The checkpoint stands at `up_to`, in the transaction of the step that led there."""
    await connection.execute(_MOVE, target.identity | {"up_to": up_to})


async def _note_suspect(connection: AsyncConnection, held: Held) -> Noted:
    tries = held.suspect_tries + 1 if held.suspected else 1
    noted = held.target.identity | {"suspect": held.position + 1, "tries": tries}
    await connection.execute(_SUSPECT, noted)
    return noted


async def _note_survival(engine: AsyncEngine, noted: Noted) -> None:
    """The try that was noted does not count: it failed, and nobody died of it. Or an event would be
    parked that is not to blame, for a read model that is locked or a database that is away."""
    with suppress(*FAILURES):  # then it counts, and the next ones are taken back
        async with engine.begin() as connection:
            await connection.execute(_SURVIVED, noted)


async def _park_suspect(connection: AsyncConnection, held: Held) -> None:
    """The next event has killed its worker each time: its stream waits for a person."""
    partition = held.target.partition
    event = (await read_partition(connection, partition, held.position, 1))[0]
    error = f"the worker died {limits.SUSPECT_TRIES_MAX} times while it applied this event"
    await park(connection, held.target, event, event.version - 1, error)


async def catch_up(engine: AsyncEngine, target: Target, up_to: int | None = None) -> int:
    """A generation that need not be the live one stands at `up_to`, or at the log's head; returns
    where. The cache is not told: it never showed this generation."""
    singly = False
    while True:
        try:
            async with engine.begin() as connection:
                row = (await connection.execute(_LOCK_ANY, target.identity)).one()
                goal = row.head if up_to is None else up_to
                if row.position >= goal:
                    return int(row.position)
                limit = limits.ADVANCE_BATCH_EVENTS
                batch_end = min(row.position + limit, goal)
                await step(connection, target, row.position, batch_end, singly=singly)
                await move(connection, target, batch_end)
                singly = False
        except DBAPIError as error:
            if singly or not is_data_error(error):
                raise
            singly = True
