"""Compares two generations of a read model row by row, at the same positions of the log.

In each partition both generations are brought to one position while the live checkpoint is locked,
which takes milliseconds. The comparison then reads a snapshot taken at that moment and blocks no
process.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row as DatabaseRow
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from projections.loop.advance import catch_up
from projections.loop.checkpoints import lock_live
from projections.read_models.generations import Build
from projections.read_models.generations import live as live_row
from projections.read_models.projection import Projection, Row, Target

_POSITIONS = text(
    "SELECT max(position) FILTER (WHERE generation = :live) AS live, "
    "max(position) FILTER (WHERE generation = :generation) AS new "
    "FROM checkpoints WHERE name = :name AND partition = :partition"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """The value columns of one key on both sides; None: that side has no such row."""

    name: str
    key: Row
    ours: Row | None
    theirs: Row | None

    def __str__(self) -> str:
        key = ", ".join(map(str, self.key))
        return f"{self.name} ({key}): {_short(self.ours)} / {_short(self.theirs)}"


def _short(row: Row | None) -> str:
    if row is None:
        return "no row"
    return ", ".join(f"{len(v)} bytes" if isinstance(v, bytes) else str(v) for v in row)


@dataclass(slots=True)
class Comparison:
    """`rows`: the number that differ; `sample`: the first of them; `uncompared`: for each partition
    not compared, why."""

    rows: int
    sample: list[Difference]
    uncompared: list[str]

    @property
    def equal(self) -> bool:
        return self.rows == 0 and not self.uncompared


async def compare(engine: AsyncEngine, build: Build, partitions: int) -> Comparison:
    """The differences between the live generation and the build."""
    result = Comparison(0, [], [])
    pending = iter(range(partitions))

    async def compare_pending() -> None:
        for partition in pending:
            await _compare_partition(engine, build.target(partition, partitions), result)

    await asyncio.gather(*(compare_pending() for _ in range(limits.COMPARE_PARTITIONS_AT_ONCE)))
    return result


async def _compare_partition(engine: AsyncEngine, new: Target, result: Comparison) -> None:
    live = await _align(engine, new)
    if live is None:
        result.uncompared.append(
            f"{new.projection.name}, partition {new.partition}: the live generation is more than "
            f"{limits.COMPARE_LAG_EVENTS_MAX} events behind the build, or it is behind the build "
            "and of another version than this code"
        )
        return
    async with engine.connect() as reader:
        await reader.execution_options(isolation_level="REPEATABLE READ")
        async with engine.begin() as holder:
            held = await lock_live(holder, new.projection, new.partition)
            await catch_up(engine, new, held.position)
            positions = await _positions(
                reader, live, new
            )  # the first statement takes the snapshot
        assert positions[0] == positions[1], (
            "the lock keeps the live generation at the build's position"
        )
        await _differences(reader, live, new, result)


async def _align(engine: AsyncEngine, new: Target) -> Target | None:
    """The live generation, which is now at the build's position or a little further. None: it is
    behind the build, and of another version, so this code may not move it, or too far behind.
    """
    async with engine.connect() as connection:
        row = await live_row(connection, new.projection.name)
        live = replace(new, generation=row.live_generation)
        live_at, new_at = await _positions(connection, live, new)
    if live_at >= new_at:
        await catch_up(engine, new, live_at)
    elif (
        row.projection_version == new.projection.version
        and new_at - live_at <= limits.COMPARE_LAG_EVENTS_MAX
    ):
        await catch_up(engine, live, new_at)
    else:
        return None
    return live


async def _positions(connection: AsyncConnection, live: Target, new: Target) -> tuple[int, int]:
    parameters = new.identity | {"live": live.generation}
    row = (await connection.execute(_POSITIONS, parameters)).one()
    return row.live, row.new


async def _differences(
    reader: AsyncConnection, live: Target, new: Target, result: Comparison
) -> None:
    projection = new.projection
    found = await reader.execute(
        _different_rows(projection, live.table, new.table),
        {"partition": new.partition, "limit": limits.DIFFERENCES_SHOWN},
    )
    for row in found:
        result.rows += row.total if row.number == 1 else 0
        if len(result.sample) < limits.DIFFERENCES_SHOWN:
            result.sample.append(_difference(projection, row))


def _different_rows(projection: Projection, live: str, new: str) -> TextClause:
    keys = ", ".join(projection.key)
    columns = ", ".join(projection.key + projection.values)
    values = [", ".join(f"{side}.{v}" for v in projection.values) for side in ("l", "n")]
    as_arrays = ", ".join(
        f"{side}.partition IS NOT NULL AS {name}_there, {', '.join(named)}"
        for side, name, named in (
            ("l", "live", [f"l.{v} AS live_{v}" for v in projection.values]),
            ("n", "new", [f"n.{v} AS new_{v}" for v in projection.values]),
        )
    )
    return text(
        f"SELECT {keys}, count(*) OVER () AS total, row_number() OVER () AS number, {as_arrays} "  # noqa: S608
        f"FROM (SELECT partition, {columns} FROM {live} WHERE partition = :partition) l FULL JOIN "
        f"(SELECT partition, {columns} FROM {new} WHERE partition = :partition) n USING ({keys}) "
        f"WHERE ROW(l.partition, {values[0]}) IS DISTINCT FROM ROW(n.partition, {values[1]}) "
        "LIMIT :limit"
    )


def _difference(projection: Projection, row: DatabaseRow[Any]) -> Difference:
    fields = row._mapping
    live = tuple(fields[f"live_{v}"] for v in projection.values)
    new = tuple(fields[f"new_{v}"] for v in projection.values)
    return Difference(
        projection.name,
        tuple(fields[k] for k in projection.key),
        live if row.live_there else None,
        new if row.new_there else None,
    )
