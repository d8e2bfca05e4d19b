"""Generations of a read model: built beside the live one, attached, swapped in, dropped.

Each step reads from the catalog and from `read_models` which steps are done, so a killed replay is
run again. An advisory lock allows one replay at a time. It only saves work: each step is safe
without it, because it changes a mark or a `read_models` row only if the value is still the expected
one.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.infra.postgres import LOCK_NOT_AVAILABLE, sqlstate
from order_service.log.reading import heads
from projections.read_models.projection import Projection, Target, table_of

REPLAY_LOCK = 0x7265706C6179  # "replay"; advisory locks are per database
# The session that holds the lock, if any: pg_locks shows the key in two halves.
REPLAY_SESSION = (
    "SELECT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted "  # noqa: S608
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    f"AND (l.classid::bigint << 32 | l.objid::bigint) = {REPLAY_LOCK}"
)
# The checkpoint of every live generation, its read model's row, and the partition's head.
LIVE_CHECKPOINTS = (
    "checkpoints c JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation "
    "JOIN partitions p ON p.partition = c.partition"
)


def live_generation(name: str, version: str | None = None) -> str:
    """A scalar subselect of the live generation's number. `version`: an SQL expression; the result
    is NULL unless that version of the projection built the generation."""
    of_version = f" AND projection_version = {version}" if version else ""
    return f"(SELECT live_generation FROM read_models WHERE name = '{name}'{of_version})"  # noqa: S608


def live_rows(name: str) -> str:
    """SQL to follow FROM: the rows that queries read. Add conditions with AND."""
    return f"read_models.{name} WHERE generation = {live_generation(name)}"


_LIVE = text("SELECT * FROM read_models WHERE name = :name")
_UNFINISHED_BUILD = text(
    "SELECT generation FROM rebuilds WHERE name = :name AND projection_version = :version"
)
_NEXT_GENERATION = text(
    "UPDATE read_models SET last_generation = last_generation + 1 WHERE name = :name "
    "RETURNING last_generation"
)
_RECORD_BUILD = text(
    "INSERT INTO rebuilds (name, generation, projection_version) "
    "VALUES (:name, :generation, :version)"
)
_MARK = text(
    "INSERT INTO rebuild_marks (name, partition, up_to) VALUES (:name, :partition, :up_to)"
)
_CHECKPOINT = text(
    "INSERT INTO checkpoints (name, generation, partition) VALUES (:name, :generation, :partition)"
)
_DROP_BUILD = text("DELETE FROM rebuilds WHERE name = :name")
_SWAP = text(
    "UPDATE read_models SET live_generation = :generation, projection_version = :version, "
    "previous_generation = live_generation, previous_version = projection_version "
    "WHERE name = :name AND live_generation = :live"
)
_KEPT = text(
    "SELECT live_generation FROM read_models WHERE name = :name UNION "
    "SELECT previous_generation FROM read_models WHERE name = :name UNION "
    "SELECT generation FROM rebuilds WHERE name = :name"
)
_TABLES = text(
    "SELECT c.relname, i.inhparent IS NOT NULL AS attached, "
    "coalesce(i.inhdetachpending, false) AS detaching FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'read_models' "
    "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
    "WHERE c.relkind = 'r' AND c.relname ~ ('^' || :name || '_[0-9]+$')"
)
_MISSING_INDEXES = text(
    "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i "
    "WHERE i.indrelid = CAST(:parent AS regclass) AND NOT i.indisprimary AND NOT EXISTS "
    "(SELECT FROM pg_index j WHERE j.indrelid = CAST(:child AS regclass) AND j.indisvalid "
    "AND j.indkey = i.indkey AND j.indclass = i.indclass "
    "AND pg_get_expr(j.indpred, j.indrelid) IS NOT DISTINCT FROM "
    "pg_get_expr(i.indpred, i.indrelid))"
)
_PRIMARY_KEY = text(
    "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = CAST(:parent AS regclass) AND contype = 'p'"
)


@dataclass(frozen=True, slots=True)
class LiveGeneration:
    """A row of `read_models`: which generation queries read."""

    name: str
    live_generation: int
    projection_version: int
    previous_generation: int | None
    previous_version: int | None
    last_generation: int


@dataclass(frozen=True, slots=True)
class Build:
    projection: Projection
    generation: int
    resumed: bool

    def target(self, partition: int, partitions: int) -> Target:
        return Target(self.projection, self.generation, partition, partitions)


async def live(connection: AsyncConnection, name: str) -> LiveGeneration:
    return LiveGeneration(*(await connection.execute(_LIVE, {"name": name})).one())


async def all_live(engine: AsyncEngine, names: Iterable[str]) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        return [asdict(await live(connection, name)) for name in names]


async def begin(connection: AsyncConnection, projections: Sequence[Projection]) -> list[Build]:
    """Each projection has a build: its unfinished one if the same version of its code began it,
    else a new one, up to the log's current heads."""
    up_to = await heads(connection)
    return [await _begin(connection, projection, up_to) for projection in projections]


async def _begin(
    connection: AsyncConnection, projection: Projection, up_to: dict[int, int]
) -> Build:
    name = projection.name
    key = {"name": name, "version": projection.version}
    unfinished = (await connection.execute(_UNFINISHED_BUILD, key)).scalar_one_or_none()
    if unfinished is not None:
        return Build(projection, unfinished, resumed=True)
    await connection.execute(_DROP_BUILD, {"name": name})
    generation = (await connection.execute(_NEXT_GENERATION, {"name": name})).scalar_one()
    await _create_table(connection, projection, generation)
    await connection.execute(_RECORD_BUILD, key | {"generation": generation})
    await connection.execute(
        _MARK, [{"name": name, "partition": n, "up_to": head} for n, head in up_to.items()]
    )
    await connection.execute(
        _CHECKPOINT, [{"name": name, "generation": generation, "partition": n} for n in up_to]
    )
    return Build(projection, generation, resumed=False)


async def _create_table(
    connection: AsyncConnection, projection: Projection, generation: int
) -> None:
    """The build's table exists. Its CHECK on the generation lets ATTACH PARTITION skip the scan.

    Autovacuum is off during the build: the first CREATE INDEX would wait for it, until PostgreSQL
    cancels the autovacuum after a second (`deadlock_timeout`).
    """
    parent, table = f"read_models.{projection.name}", table_of(projection.name, generation)
    # An update of an aggregate changes no indexed column and stays on its page if the page has
    # room. An update of an order always changes an indexed column.
    fillfactor = 100 if projection.one_row_per_order else 80
    primary_key = (await connection.execute(_PRIMARY_KEY, {"parent": parent})).scalar_one()
    await connection.execute(
        text(
            f"CREATE TABLE {table} (LIKE {parent} INCLUDING DEFAULTS INCLUDING STORAGE, "
            f"CHECK (generation = {generation}), {primary_key}) "
            f"WITH (fillfactor = {fillfactor}, autovacuum_vacuum_scale_factor = 0.05, "
            "autovacuum_enabled = false)"
        )
    )


async def index(engine: AsyncEngine, build: Build) -> None:
    """The build's table has every index of its parent, so ATTACH PARTITION builds none."""
    name = build.projection.name
    tables = {"parent": f"read_models.{name}", "child": table_of(name, build.generation)}
    async with engine.connect() as connection:
        missing = (await connection.execute(_MISSING_INDEXES, tables)).scalars().all()
    pending = iter(sorted(missing, reverse=True, key=_is_slow))

    async def create_pending() -> None:
        for definition in pending:
            head, _, using = definition.partition(" USING ")
            # Named after the parent's: of two that PostgreSQL names at the same time, and that are
            # on the same column, one would fail.
            index_name = f"{head.split()[2]}_{build.generation}"
            create = f"CREATE INDEX {index_name} ON {tables['child']} USING {using}"
            async with engine.begin() as connection:
                await connection.execute(text(create))

    # The build processes have ended: at least two cores are free.
    await asyncio.gather(*(create_pending() for _ in range(limits.REBUILD_INDEXES_AT_ONCE)))
    async with engine.begin() as connection:
        await connection.execute(text(f"ANALYZE {tables['child']}"))


def _is_slow(definition: str) -> bool:
    """The index of search terms takes as long as all others combined, so it is created first."""
    return " USING gin " in definition


async def attach(engine: AsyncEngine, build: Build) -> None:
    """The build's table is a partition of its parent, but no query reads it before the swap.
    Autovacuum is on from now on: before ATTACH it could hold the table's lock for minutes."""
    name, generation = build.projection.name, build.generation
    child = table_of(name, generation)
    async with engine.connect() as connection:
        tables = (await connection.execute(_TABLES, {"name": name})).all()
    if not any(t.relname == f"{name}_{generation}" and t.attached for t in tables):
        attach = f"ALTER TABLE read_models.{name} ATTACH PARTITION {child}"
        await _run_ddl(engine, child, f"{attach} FOR VALUES IN ({generation})")
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {child} RESET (autovacuum_enabled)"))


async def swap(
    connection: AsyncConnection, projection: Projection, old: int, generation: int
) -> bool:
    """True: `generation` is live and `old` is kept for a rollback. False: `old` was not live. The
    caller holds the live checkpoints' locks and commits."""
    parameters = {
        "name": projection.name,
        "generation": generation,
        "version": projection.version,
        "live": old,
    }
    swapped = (await connection.execute(_SWAP, parameters)).rowcount == 1
    await connection.execute(_DROP_BUILD, {"name": projection.name})
    return swapped


async def discard_build(connection: AsyncConnection, name: str) -> None:
    """The build is no longer recorded; the next `drop_unused` drops its table."""
    await connection.execute(_DROP_BUILD, {"name": name})


async def drop_unused(engine: AsyncEngine, name: str) -> None:
    """Only the live generation, the previous one and a recorded build remain."""
    async with engine.begin() as connection:
        kept = set((await connection.execute(_KEPT, {"name": name})).scalars()) - {None}
        tables = (await connection.execute(_TABLES, {"name": name})).all()
        for state_table in ("checkpoints", "dead_letters"):
            await connection.execute(
                text(
                    f"DELETE FROM {state_table} WHERE name = :name "  # noqa: S608
                    "AND NOT generation = ANY (:kept)"
                ),
                {"name": name, "kept": list(kept)},
            )
    for table in tables:
        if int(table.relname.rpartition("_")[2]) in kept:
            continue
        if table.attached:
            mode = "FINALIZE" if table.detaching else "CONCURRENTLY"
            await _detach(engine, name, table.relname, mode)
        child = f"read_models.{table.relname}"
        await _run_ddl(engine, child, f"DROP TABLE {child}")


async def _detach(engine: AsyncEngine, name: str, child: str, mode: str) -> None:
    """CONCURRENTLY, so that no query waits; FINALIZE completes a detach that was interrupted."""
    table = f"read_models.{child}"
    detach = f"ALTER TABLE read_models.{name} DETACH PARTITION {table}"
    attempts = 1 if mode == "CONCURRENTLY" else limits.DDL_RETRIES_MAX
    try:
        await _run_ddl(engine, table, f"{detach} {mode}", attempts)
    except DBAPIError:
        if mode == "FINALIZE":
            raise
        async with engine.connect() as connection:
            tables = (await connection.execute(_TABLES, {"name": name})).all()
        pending = any(t.relname == child and t.detaching for t in tables)
        await _run_ddl(engine, table, f"{detach} {'FINALIZE' if pending else 'CONCURRENTLY'}")


async def _run_ddl(
    engine: AsyncEngine, table: str, statement: str, attempts: int = limits.DDL_RETRIES_MAX
) -> None:
    """The DDL is done, and no query queued behind it for long: it waits DDL_LOCK_TIMEOUT_MS for its
    lock on the table, then releases its place and tries again."""
    async with engine.connect() as pooled:
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"SET lock_timeout = {limits.DDL_LOCK_TIMEOUT_MS}"))
        try:
            for attempt in range(1, attempts + 1):
                try:
                    await connection.execute(text(statement))
                    return
                except DBAPIError as error:
                    busy = sqlstate(error) == LOCK_NOT_AVAILABLE
                    if not busy or attempt == attempts:
                        raise
                await _stop_autovacuum(engine, table)
                await asyncio.sleep(limits.DDL_LOCK_TIMEOUT_MS / 1000)
        finally:
            await connection.execute(text("RESET lock_timeout"))


async def _stop_autovacuum(engine: AsyncEngine, table: str) -> None:
    """No autovacuum runs on the table; on a large table one can run for minutes.

    PostgreSQL cancels an autovacuum that has blocked a lock request for a second
    (`deadlock_timeout`). Our DDL never waits that long. This request does, in a lock mode that
    blocks neither readers nor writers of the table.
    """
    with suppress(DBAPIError):  # another session holds the lock, or the table is gone
        async with engine.begin() as connection:
            timeout = f"SET LOCAL lock_timeout = {limits.AUTOVACUUM_STOP_TIMEOUT_MS}"
            await connection.execute(text(timeout))
            await connection.execute(text(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))
