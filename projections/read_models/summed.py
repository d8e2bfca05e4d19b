"""Projections whose rows are sums over many orders.

A change adds the order's new share and subtracts its old one. Rows whose sums are all zero are
deleted.
"""

from collections.abc import Callable
from functools import cache
from operator import add

from projections.read_models import projection as p


def summed(
    name: str, version: int, key: p.Columns, sums: p.Columns, rows: Callable[[p.Change], p.Rows]
) -> p.Projection:
    """A projection whose `rows` returns the differences that one change makes."""
    keys: p.Columns = {"partition": "smallint", **key}
    columns: p.Columns = {**keys, **sums}

    @cache
    def upsert(table: str, generation: int) -> str:
        return (
            f"INSERT INTO {table} AS t (generation, {', '.join(columns)}) "  # noqa: S608
            f"SELECT {generation}, u.* FROM {p.unnest(columns)} "
            f"ON CONFLICT (generation, {', '.join(key)}, partition) DO UPDATE SET "
            + ", ".join(f"{column} = t.{column} + excluded.{column}" for column in sums)
        )

    @cache
    def delete_empty(table: str, generation: int) -> str:
        return (
            f"DELETE FROM {table} t USING {p.unnest(keys)} "  # noqa: S608
            f"WHERE t.generation = {generation} AND "
            + " AND ".join(f"t.{column} = u.{column}" for column in keys)
            + "".join(f" AND t.{column} = 0" for column in sums)
        )

    def statements(parts: p.Parts) -> list[p.Statement]:
        table, generation = parts[0][0].table, parts[0][0].generation
        changed = [row for row in p.flat(parts) if any(row[2])]
        reduced = [row for row in changed if min(row[2]) < 0]
        result: list[p.Statement] = []
        if changed:
            result.append((upsert(table, generation), p.arrays(projection, changed)))
        if reduced:
            arrays = p.arrays(projection, reduced)[: len(keys)]
            result.append((delete_empty(table, generation), arrays))
        return result

    projection = p.Projection(
        name=name,
        version=version,
        key=tuple(key),
        values=tuple(sums),
        one_row_per_order=False,
        rows=rows,
        add=_add,
        statements=statements,
    )
    return projection


def _add(row: p.Row | None, difference: p.Row) -> p.Row:
    return difference if row is None else tuple(map(add, row, difference))
