"""Checkpoints: the last position that a projection has finished in a partition; find, lock, move.

Functions with a connection as first argument never commit: a checkpoint moves in the same
transaction as the rows up to it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.domain.immutable import immutable
from order_service.infra.postgres import FAILURES, driver_of
from projections.read_models.generations import LIVE_CHECKPOINTS
from projections.read_models.projection import Projection, Target
from projections.read_models.registry import PROJECTIONS

_LOCKED_COLUMNS = (
    "c.name, c.generation, c.partition, c.position, p.position AS head, c.suspect_position, "
    "c.suspect_tries, m.projection_version, (SELECT count(*) FROM partitions) AS partitions"
)
# A swap may commit between this statement's snapshot and its lock. Then a batch goes to the
# previous generation; that is correct too, since it is kept for a rollback.
_LIVE = (
    f"SELECT {_LOCKED_COLUMNS} FROM {LIVE_CHECKPOINTS} "  # noqa: S608
    "WHERE c.name = :name AND c.partition = :partition FOR UPDATE OF c"
)
_TRY_LOCK_LIVE = text(f"{_LIVE} SKIP LOCKED")
_LOCK_LIVE = text(_LIVE)
# Every checkpoint of these partitions that is behind and not locked. `ordinary`: see `lock_behind`.
_LOCK_BEHIND = (
    f"SELECT {_LOCKED_COLUMNS}, c.suspect_position IS NULL "  # noqa: S608
    "AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.name = c.name "
    "AND d.generation = c.generation AND d.partition = c.partition) "
    "AND NOT EXISTS (SELECT FROM skips s WHERE s.name = c.name AND s.partition = c.partition) "
    f"AS ordinary FROM {LIVE_CHECKPOINTS} "
    "WHERE c.partition = ANY ($1::smallint[]) AND c.position < p.position "
    "ORDER BY c.partition, c.name FOR UPDATE OF c SKIP LOCKED"
)
_LOCK = text(
    "SELECT c.position, p.position AS head FROM checkpoints c "
    "JOIN partitions p ON p.partition = c.partition WHERE c.name = :name "
    "AND c.generation = :generation AND c.partition = :partition FOR UPDATE OF c"
)
_IS_BEHIND = text(
    f"SELECT c.position < p.position FROM {LIVE_CHECKPOINTS} "  # noqa: S608
    "WHERE c.name = :name AND c.partition = :partition"
)
# xmax is the last transaction that locked this version of the row. If it still runs, the snapshot
# lists it, or it is newer than the snapshot. (After a wraparound of transaction ids a row may look
# locked for a while; then the consumer's tick finds it.)
_BEHIND = (
    "SELECT c.name, c.partition, c.position, "  # noqa: S608
    "c.xmax::text::bigint < pg_snapshot_xmax(s.now)::text::bigint % 4294967296 "
    "AND c.xmax NOT IN (SELECT x::xid FROM pg_snapshot_xip(s.now) x) AS free "
    f"FROM {LIVE_CHECKPOINTS} CROSS JOIN (SELECT pg_current_snapshot() AS now) s "
    "WHERE c.position < p.position ORDER BY c.name, c.partition"
)
_MOVE = (
    "UPDATE checkpoints c SET position = m.up_to, moved_at = clock_timestamp(), "
    "suspect_position = NULL, suspect_tries = 0 "
    "FROM unnest($1::text[], $2::integer[], $3::smallint[], $4::bigint[]) "
    "AS m (name, generation, partition, up_to) "
    "WHERE c.name = m.name AND c.generation = m.generation AND c.partition = m.partition"
)
_SUSPECT = text(
    "UPDATE checkpoints SET suspect_position = :suspect, suspect_tries = :tries "
    "WHERE name = :name AND generation = :generation AND partition = :partition"
)
_TRY_SUSPECT_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, :partition))")
# Takes one try back, also if another worker has noted one meanwhile; does nothing if the checkpoint
# has moved.
_SURVIVED = text(
    "UPDATE checkpoints SET suspect_tries = suspect_tries - 1 "
    "WHERE name = :name AND generation = :generation AND partition = :partition "
    "AND suspect_position = :suspect AND suspect_tries > 0"
)
NotedTry = dict[
    str, Any
]  # parameters: a checkpoint's key, its suspect's position, and the tries so far
Pair = tuple[str, int]  # projection and partition


@dataclass(frozen=True, slots=True)
class Behind:
    """A live checkpoint below the log's head. Not `free`: a worker has locked it and reads the head
    again after it has released the lock, so no hint is needed."""

    name: str
    partition: int
    position: int
    free: bool = field(compare=False)


@immutable
class LockedCheckpoint:
    """A checkpoint whose row this transaction has locked, with the log's head at that moment."""

    target: Target
    position: int
    head: int
    suspect_position: int | None
    suspect_tries: int
    projection_version: int

    @property
    def pair(self) -> Pair:
        return self.target.projection.name, self.target.partition

    @property
    def next_is_suspect(self) -> bool:
        return self.suspect_position == self.position + 1

    @property
    def replay_needed(self) -> bool:
        """Whether another version of the projection built the live generation."""
        return self.projection_version != self.target.projection.version


# --- find -----------------------------------------------------------------------------------------


async def behind(driver: asyncpg.Connection) -> list[Behind]:
    """The live checkpoints below the log's head, of projections that this code has."""
    rows = await driver.fetch(_BEHIND)
    return [Behind(*row) for row in rows if row["name"] in PROJECTIONS]


async def is_behind(connection: AsyncConnection, projection: Projection, partition: int) -> bool:
    key = {"name": projection.name, "partition": partition}
    return bool((await connection.execute(_IS_BEHIND, key)).scalar_one())


# --- lock -----------------------------------------------------------------------------------------


async def try_lock_live(
    connection: AsyncConnection, projection: Projection, partition: int
) -> LockedCheckpoint | None:
    """The live checkpoint, locked; None if another transaction holds the lock."""
    return await _lock_row(connection, _TRY_LOCK_LIVE, projection, partition)


async def lock_live(
    connection: AsyncConnection, projection: Projection, partition: int
) -> LockedCheckpoint:
    """The live checkpoint, locked; waits for at most the connection's lock_timeout."""
    held = await _lock_row(connection, _LOCK_LIVE, projection, partition)
    assert held is not None, "every projection has a live checkpoint in every partition"
    return held


async def _lock_row(
    connection: AsyncConnection, statement: TextClause, projection: Projection, partition: int
) -> LockedCheckpoint | None:
    key = {"name": projection.name, "partition": partition}
    row = (await connection.execute(statement, key)).one_or_none()
    return None if row is None else _locked_checkpoint(row._mapping)


async def lock_behind(
    driver: asyncpg.Connection, partitions: Sequence[int]
) -> list[tuple[LockedCheckpoint, bool]]:
    """The live checkpoints of these partitions that are behind and were not locked, now locked, by
    partition and name. Each with whether it is ordinary: it has no suspect, no parked stream and no
    skip."""
    rows = await driver.fetch(_LOCK_BEHIND, partitions)
    return [
        (_locked_checkpoint(row), row["ordinary"]) for row in rows if row["name"] in PROJECTIONS
    ]


def _locked_checkpoint(row: RowMapping | asyncpg.Record) -> LockedCheckpoint:
    projection = PROJECTIONS[row["name"]]
    return LockedCheckpoint(
        Target(projection, row["generation"], row["partition"], row["partitions"]),
        row["position"],
        row["head"],
        row["suspect_position"],
        row["suspect_tries"],
        row["projection_version"],
    )


async def lock(connection: AsyncConnection, target: Target) -> tuple[int, int]:
    """The checkpoint of a generation, live or not, is locked. Returns its position and the log's
    head."""
    row = (await connection.execute(_LOCK, target.identity)).one()
    return row.position, row.head


# --- move -----------------------------------------------------------------------------------------


async def move(connection: AsyncConnection, moves: Sequence[tuple[Target, int]]) -> None:
    """Each checkpoint is at its new position, in the transaction that writes the rows up to it."""
    rows = [(t.projection.name, t.generation, t.partition, up_to) for t, up_to in moves]
    driver = await driver_of(connection)
    await driver.execute(_MOVE, *map(list, zip(*rows, strict=True)))


# --- suspect events -------------------------------------------------------------------------------


@asynccontextmanager
async def suspect_lock(engine: AsyncEngine, target: Target) -> AsyncIterator[bool]:
    """True: this worker alone tries the suspect event inside the block, from the note of the try to
    its outcome. Without this lock, workers at the same event would count each other's running tries
    as deaths.

    The lock ends with its session, so with its holder. If the holder is only paused, the session
    ends by idle_in_transaction_session_timeout.
    """
    async with engine.connect() as connection:
        yield bool((await connection.execute(_TRY_SUSPECT_LOCK, target.identity)).scalar_one())


async def note_suspect(connection: AsyncConnection, held: LockedCheckpoint) -> NotedTry:
    """The next event is recorded as suspect, with one more try."""
    tries = held.suspect_tries + 1 if held.next_is_suspect else 1
    noted = held.target.identity | {"suspect": held.position + 1, "tries": tries}
    await connection.execute(_SUSPECT, noted)
    return noted


async def note_survival(engine: AsyncEngine, noted: NotedTry) -> None:
    """The noted try no longer counts: the worker survived it. Otherwise a locked read model or an
    unreachable database would park an innocent event."""
    with suppress(*FAILURES):  # this try then counts; the next ones are still taken back
        async with engine.begin() as connection:
            await connection.execute(_SURVIVED, noted)
