"""Checkpoints: how far a projection has come in a partition; who may move it, and by how much.

Functions that take a connection first never commit: a checkpoint moves in the transaction of the
rows that it stands for.
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

_HELD = (
    "c.name, c.generation, c.partition, c.position, p.position AS head, c.suspect_position, "
    "c.suspect_tries, m.projection_version, (SELECT count(*) FROM partitions) AS partitions"
)
# The generation may change hands between this statement's snapshot and its lock. Then a batch goes
# to the generation that was live a moment ago: it is kept for a rollback, so that is as right.
_LIVE = (
    f"SELECT {_HELD} FROM {LIVE_CHECKPOINTS} "  # noqa: S608
    "WHERE c.name = :name AND c.partition = :partition FOR UPDATE OF c"
)
_TAKE_LIVE = text(f"{_LIVE} SKIP LOCKED")
_LOCK_LIVE = text(_LIVE)
# Every checkpoint of these partitions that is behind and free. `ordinary`: nothing is special.
_TAKE_BEHIND = (
    f"SELECT {_HELD}, c.suspect_position IS NULL "  # noqa: S608
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
# xmax: the last transaction that has locked this version of the row; is it still at work? Then it
# is among those that the snapshot names, or younger than all that it knows. (When transaction ids
# begin anew, a row may for a while pass for held: then the tick finds it.)
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
_TRY_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, :partition))")
# One's own try, whichever worker has noted another one meanwhile; nothing where the checkpoint has
# moved on.
_SURVIVED = text(
    "UPDATE checkpoints SET suspect_tries = suspect_tries - 1 "
    "WHERE name = :name AND generation = :generation AND partition = :partition "
    "AND suspect_position = :suspect AND suspect_tries > 0"
)
Noted = dict[str, Any]  # a checkpoint, the event that is suspected there, and the tries so far
Pair = tuple[str, int]  # projection and partition


@dataclass(frozen=True, slots=True)
class Behind:
    """A live checkpoint that the log has passed. Not `free`: a worker holds it, and looks at the
    head once more after it has released it; so no hint is needed."""

    name: str
    partition: int
    position: int
    free: bool = field(compare=False)


@immutable
class Held:
    """A checkpoint whose row this transaction has locked, and the log's head at that time."""

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
    def suspected(self) -> bool:
        return self.suspect_position == self.position + 1

    @property
    def replay_needed(self) -> bool:
        """The live generation was built by another version of the projection."""
        return self.projection_version != self.target.projection.version


# --- find -----------------------------------------------------------------------------------------


async def behind(driver: asyncpg.Connection) -> list[Behind]:
    """The live checkpoints that this code can move forward, hint or no hint."""
    rows = await driver.fetch(_BEHIND)
    return [Behind(*row) for row in rows if row["name"] in PROJECTIONS]


async def is_behind(connection: AsyncConnection, projection: Projection, partition: int) -> bool:
    key = {"name": projection.name, "partition": partition}
    return bool((await connection.execute(_IS_BEHIND, key)).scalar_one())


# --- hold -----------------------------------------------------------------------------------------


async def take_live(
    connection: AsyncConnection, projection: Projection, partition: int
) -> Held | None:
    """The live checkpoint; None if another transaction holds it."""
    return await _hold(connection, _TAKE_LIVE, projection, partition)


async def lock_live(connection: AsyncConnection, projection: Projection, partition: int) -> Held:
    """Waits for the live checkpoint (at most the connection's lock_timeout) and holds it."""
    held = await _hold(connection, _LOCK_LIVE, projection, partition)
    assert held is not None, "every projection has a live checkpoint in every partition"
    return held


async def _hold(
    connection: AsyncConnection, statement: TextClause, projection: Projection, partition: int
) -> Held | None:
    key = {"name": projection.name, "partition": partition}
    row = (await connection.execute(statement, key)).one_or_none()
    return None if row is None else _held(row._mapping)


async def take_behind(
    driver: asyncpg.Connection, partitions: Sequence[int]
) -> list[tuple[Held, bool]]:
    """The live checkpoints of these partitions that are behind and free, by partition and name;
    each with whether it is ordinary: nothing is suspected, parked or skipped there."""
    rows = await driver.fetch(_TAKE_BEHIND, partitions)
    return [(_held(row), row["ordinary"]) for row in rows if row["name"] in PROJECTIONS]


def _held(row: RowMapping | asyncpg.Record) -> Held:
    projection = PROJECTIONS[row["name"]]
    return Held(
        Target(projection, row["generation"], row["partition"], row["partitions"]),
        row["position"],
        row["head"],
        row["suspect_position"],
        row["suspect_tries"],
        row["projection_version"],
    )


async def lock(connection: AsyncConnection, target: Target) -> tuple[int, int]:
    """Waits for the checkpoint of a generation that need not be the live one, and holds it: its
    position and the log's head."""
    row = (await connection.execute(_LOCK, target.identity)).one()
    return row.position, row.head


# --- move -----------------------------------------------------------------------------------------


async def move(connection: AsyncConnection, moves: Sequence[tuple[Target, int]]) -> None:
    """Each checkpoint stands at its new position, in the transaction of the rows up to there."""
    rows = [(t.projection.name, t.generation, t.partition, up_to) for t, up_to in moves]
    driver = await driver_of(connection)
    await driver.execute(_MOVE, *map(list, zip(*rows, strict=True)))


# --- suspect events -------------------------------------------------------------------------------


@asynccontextmanager
async def alone(engine: AsyncEngine, target: Target) -> AsyncIterator[bool]:
    """Whether no other worker is at an event of which a worker may have died, from its note to its
    outcome. Else workers that meet there would take each other's tries for deaths.

    The lock ends with its session, so with its holder; that of a process that is only paused ends
    by idle_in_transaction_session_timeout.
    """
    async with engine.connect() as connection:
        yield bool((await connection.execute(_TRY_ALONE, target.identity)).scalar_one())


async def note_suspect(connection: AsyncConnection, held: Held) -> Noted:
    """The next event is written down as suspect, with one more try."""
    tries = held.suspect_tries + 1 if held.suspected else 1
    noted = held.target.identity | {"suspect": held.position + 1, "tries": tries}
    await connection.execute(_SUSPECT, noted)
    return noted


async def note_survival(engine: AsyncEngine, noted: Noted) -> None:
    """The try that was noted does not count: it failed, and no worker died of it. Or an event would
    be parked that is not to blame, for a read model that is locked or a database that is away."""
    with suppress(*FAILURES):  # then it counts, and the next ones are taken back
        async with engine.begin() as connection:
            await connection.execute(_SURVIVED, noted)
