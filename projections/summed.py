"""Projections whose rows are sums over many orders. May import projection.

A change adds what it makes of an order's share and takes away what it was. A row whose sums are all
nothing is as good as none, and goes.
"""

from collections.abc import Callable, Mapping
from functools import cache
from operator import add
from typing import Any

from sqlalchemy import SmallInteger, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from projections import projection as p

Columns = Mapping[str, type[TypeEngine[Any]]]


def summed(
    name: str, version: int, key: Columns, sums: Columns, rows: Callable[[p.Change], p.Rows]
) -> p.Projection:
    """A projection of which `rows` gives the differences that one change makes."""
    parameters: Columns = {"partition": SmallInteger, **key}
    names = ", ".join(parameters)

    @cache
    def upsert(table: str) -> TextClause:
        arrays = ", ".join(f":{column}" for column in (*parameters, *sums))
        return p.with_arrays(
            f"INSERT INTO {table} AS t (generation, {names}, {', '.join(sums)}) "  # noqa: S608
            f"SELECT CAST(:generation AS integer), u.* FROM unnest({arrays}) AS u "
            f"ON CONFLICT (generation, {', '.join(key)}, partition) DO UPDATE SET "
            + ", ".join(f"{column} = t.{column} + excluded.{column}" for column in sums),
            **parameters,
            **sums,
        )

    @cache
    def delete_empty(table: str) -> TextClause:
        arrays = ", ".join(f":{column}" for column in parameters)
        return p.with_arrays(
            f"DELETE FROM {table} t USING unnest({arrays}) AS u ({names}) "  # noqa: S608
            "WHERE t.generation = :generation AND "
            + " AND ".join(f"t.{column} = u.{column}" for column in parameters)
            + "".join(f" AND t.{column} = 0" for column in sums),
            **parameters,
        )

    async def write(connection: AsyncConnection, parts: p.Parts) -> None:
        target = parts[0][0]
        changed = [found for found in p.flat(parts) if any(found[2])]
        if not changed:
            return
        generation = {"generation": target.generation}
        columns = p.arrays(projection, changed)
        await connection.execute(upsert(target.table), generation | columns)
        left = [found for found in changed if min(found[2]) < 0]
        if left:
            columns = p.arrays(projection, left)
            keys = {column: columns[column] for column in parameters}
            await connection.execute(delete_empty(target.table), generation | keys)

    projection = p.Projection(
        name=name,
        version=version,
        key=tuple(key),
        values=tuple(sums),
        one_row_per_order=False,
        rows=rows,
        add=_add,
        write=write,
    )
    return projection


def _add(row: p.Row | None, difference: p.Row) -> p.Row:
    return difference if row is None else tuple(map(add, row, difference))
