"""Generations of a read model: made beside the live one, attached, swapped in, dropped.

Which steps are done is read from the catalog and from `read_models`, never remembered: so whatever
was killed half-way is simply run again. Two replays are kept apart by an advisory lock, which only
saves work: each step proves itself (a mark or `read_models` row that moved since is left alone).
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
# The session that holds it, if there is one: pg_locks shows the lock's key in two halves.
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
    """The number of the live generation, as a scalar subselect. `version`: an SQL expression; with
    it NULL unless the generation was built by that version of the projection."""
    of_version = f" AND projection_version = {version}" if version else ""
    return f"(SELECT live_generation FROM read_models WHERE name = '{name}'{of_version})"  # noqa: S608


def live_rows(name: str) -> str:
    """The rows that queries read: for FROM; conditions follow with AND."""
    return f"read_models.{name} WHERE generation = {live_generation(name)}"


_LIVE = text("SELECT * FROM read_models WHERE name = :name")
_STANDING_BUILD = text(
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
class Live:
    """The row that says which generation queries read."""

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


async def live(connection: AsyncConnection, name: str) -> Live:
    return Live(*(await connection.execute(_LIVE, {"name": name})).one())


async def all_live(engine: AsyncEngine, names: Iterable[str]) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        return [asdict(await live(connection, name)) for name in names]


async def begin(connection: AsyncConnection, projections: Sequence[Projection]) -> list[Build]:
    """Each projection has a build: the one that stands half done if the same version of its code
    began it, else a new one, up to the log's heads as of now."""
    up_to = await heads(connection)
    return [await _begin(connection, projection, up_to) for projection in projections]


async def _begin(
    connection: AsyncConnection, projection: Projection, up_to: dict[int, int]
) -> Build:
    name = projection.name
    key = {"name": name, "version": projection.version}
    standing = (await connection.execute(_STANDING_BUILD, key)).scalar_one_or_none()
    if standing is not None:
        return Build(projection, standing, resumed=True)
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
    """A table that can be attached without being read through: its CHECK says what it holds.

    No autovacuum while it is built: the first index would wait for it, until PostgreSQL ends it
    after a second (`deadlock_timeout`).
    """
    parent, table = f"read_models.{projection.name}", table_of(projection.name, generation)
    # An update of an aggregate changes no index and stays on its page, given room there; an order's
    # always changes one.
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
    """The build's table has every index of its parent, so that attaching it builds none."""
    name = build.projection.name
    tables = {"parent": f"read_models.{name}", "child": table_of(name, build.generation)}
    async with engine.connect() as connection:
        missing = (await connection.execute(_MISSING_INDEXES, tables)).scalars().all()
    columns = (definition.partition(" USING ")[2] for definition in missing)
    waiting = iter(sorted(columns, reverse=True, key=_takes_long))

    async def lane() -> None:
        for using in waiting:
            async with engine.begin() as connection:
                await connection.execute(text(f"CREATE INDEX ON {tables['child']} USING {using}"))

    # The processes that built the table are gone: two cores and more are free.
    await asyncio.gather(*(lane() for _ in range(limits.REBUILD_INDEXES_AT_ONCE)))
    async with engine.begin() as connection:
        await connection.execute(text(f"ANALYZE {tables['child']}"))


def _takes_long(using: str) -> bool:
    """Of the words, which takes as long as all of the others: so it goes first."""
    return using.startswith("gin ")


async def attach(engine: AsyncEngine, build: Build) -> None:
    """Queries of the parent can reach the build; none does before the swap. Autovacuum looks after
    it from now on: before, it might have held the table for minutes."""
    name, generation = build.projection.name, build.generation
    child = table_of(name, generation)
    async with engine.connect() as connection:
        tables = (await connection.execute(_TABLES, {"name": name})).all()
    if not any(t.relname == f"{name}_{generation}" and t.attached for t in tables):
        attach = f"ALTER TABLE read_models.{name} ATTACH PARTITION {child}"
        await _patiently(engine, child, f"{attach} FOR VALUES IN ({generation})")
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {child} RESET (autovacuum_enabled)"))


async def swap(
    connection: AsyncConnection, projection: Projection, old: int, generation: int
) -> bool:
    """`generation` is live and `old` is kept, if `old` was live until now. The caller holds the
    live checkpoints' locks and commits."""
    parameters = {
        "name": projection.name,
        "generation": generation,
        "version": projection.version,
        "live": old,
    }
    swapped = (await connection.execute(_SWAP, parameters)).rowcount == 1
    await connection.execute(_DROP_BUILD, {"name": projection.name})
    return swapped


async def give_up(connection: AsyncConnection, name: str) -> None:
    """The build stands no more; its table goes with the next `drop_unused`."""
    await connection.execute(_DROP_BUILD, {"name": name})


async def drop_unused(engine: AsyncEngine, name: str) -> None:
    """Only the live generation, the previous one and a build are left."""
    async with engine.begin() as connection:
        kept = set((await connection.execute(_KEPT, {"name": name})).scalars()) - {None}
        tables = (await connection.execute(_TABLES, {"name": name})).all()
        for state in ("checkpoints", "dead_letters"):
            await connection.execute(
                text(f"DELETE FROM {state} WHERE name = :name AND NOT generation = ANY (:kept)"),  # noqa: S608
                {"name": name, "kept": list(kept)},
            )
    for table in tables:
        if int(table.relname.rpartition("_")[2]) in kept:
            continue
        if table.attached:
            how = "FINALIZE" if table.detaching else "CONCURRENTLY"
            await _detach(engine, name, table.relname, how)
        child = f"read_models.{table.relname}"
        await _patiently(engine, child, f"DROP TABLE {child}")


async def _detach(engine: AsyncEngine, name: str, child: str, how: str) -> None:
    """CONCURRENTLY, so that no query waits; if it is stopped in the middle, FINALIZE ends it."""
    table = f"read_models.{child}"
    detach = f"ALTER TABLE read_models.{name} DETACH PARTITION {table}"
    attempts = 1 if how == "CONCURRENTLY" else limits.DDL_RETRIES_MAX
    try:
        await _patiently(engine, table, f"{detach} {how}", attempts)
    except DBAPIError:
        if how == "FINALIZE":
            raise
        async with engine.connect() as connection:
            tables = (await connection.execute(_TABLES, {"name": name})).all()
        pending = any(t.relname == child and t.detaching for t in tables)
        await _patiently(engine, table, f"{detach} {'FINALIZE' if pending else 'CONCURRENTLY'}")


async def _patiently(
    engine: AsyncEngine, table: str, statement: str, attempts: int = limits.DDL_RETRIES_MAX
) -> None:
    """DDL that never makes queries queue behind it: it waits DDL_LOCK_TIMEOUT_MS for its lock on
    the table, steps back, and tries again."""
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
    """It works on the table no more, if it did: of a large one it can for minutes.

    It gives way to whoever has waited for a second (`deadlock_timeout`), as none of our DDL does.
    This does, for a lock that readers and writers of the table do not notice.
    """
    with suppress(DBAPIError):  # somebody else has it; or there is no such table any more
        async with engine.begin() as connection:
            timeout = f"SET LOCAL lock_timeout = {limits.AUTOVACUUM_STOP_TIMEOUT_MS}"
            await connection.execute(text(timeout))
            await connection.execute(text(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))
