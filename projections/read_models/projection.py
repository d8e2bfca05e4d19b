"""What a projection is, and the generations of its table.

A projection says which rows one order's change makes (pure), how such rows come together (pure) and
how they are written. Everything else is the loop's: reading, folding, counting once, parking.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.cache.order_cache import OrderCache
from order_service.domain.immutable import immutable
from order_service.log.fold import FoldedOrder

Change = tuple[FoldedOrder | None, FoldedOrder]  # an order before and after some of its events
Row = tuple[Any, ...]
Rows = dict[Row, Row]  # key columns to value columns
Statement = tuple[str, Sequence[list[Any]]]  # as the driver knows it, with $1, $2 for arrays
Columns = Mapping[str, str]  # with their types in SQL


@immutable
class Projection:
    """`version`: raise it when the same log would make other rows; a replay must follow.

    `key` and `values` name the columns beside generation and partition. `rows` is what one change
    makes of the table; `add` brings a row and a later change of it together; `statements` are what
    writes rows of several partitions of one generation, one after the other (see `write`). With
    `one_row_per_order` the key is the order's id and a later row replaces an earlier one: a rebuild
    may then copy rows in, and `verify` go by ranges. `refresh` tells the cache, after the commit.
    `store` makes of the values what the table holds, and `restore` the values of that.
    """

    name: str
    version: int
    key: tuple[str, ...]
    values: tuple[str, ...]
    one_row_per_order: bool
    rows: Callable[[Change], Rows]
    add: Callable[[Row | None, Row], Row]
    statements: Callable[["Parts"], Sequence[Statement]]
    refresh: Callable[[OrderCache, Rows], Awaitable[None]] | None = None
    store: Callable[[Row], Row] = tuple
    restore: Callable[[Row], Row] = tuple

    def merge(self, into: Rows, rows: Mapping[Row, Row]) -> None:
        if self.one_row_per_order:
            into.update(rows)
            return
        for key, values in rows.items():
            into[key] = self.add(into.get(key), values)


@immutable
class Target:
    """One partition of one generation: what a checkpoint stands for."""

    projection: Projection
    generation: int
    partition: int
    partitions: int

    @property
    def table(self) -> str:
        return table_of(self.projection.name, self.generation)

    @property
    def identity(self) -> dict[str, Any]:
        """The key of its checkpoint, as parameters."""
        return {
            "name": self.projection.name,
            "generation": self.generation,
            "partition": self.partition,
        }


Parts = Sequence[tuple[Target, Rows]]  # of one generation, a partition each; never empty

_STATEMENTS_MAX = 64  # of different makes: few are ever seen
_PARAMETER = re.compile(r"\$(\d+)")


def table_of(name: str, generation: int) -> str:
    """A generation's own table: a child of `read_models.<name>`, or about to become one."""
    return f"read_models.{name}_{generation}"


async def write(connection: AsyncConnection, *of_each: Parts) -> None:
    """Rows of several projections are in their tables: the first statements of all of them go as
    one, then the second ones. The worker waits for a core after each round trip: with one a
    projection the lag was p50 12 to 19 ms at 2,000 orders a second, with one for all 10 (three
    runs of each by turns, of what `bench lag --rate 4000` measures)."""
    statements = (parts[0][0].projection.statements(parts) for parts in of_each)
    for turn in zip_longest(*statements):
        sqls, arguments = zip(*filter(None, turn), strict=True)
        await connection.exec_driver_sql(_as_one(sqls), tuple(chain.from_iterable(arguments)))


@lru_cache(_STATEMENTS_MAX)
def _as_one(sqls: tuple[str, ...]) -> str:
    """A statement that does what all of them do, each to a table of its own; the parameters of each
    follow those of the one before."""
    parts, parameters = [], 0
    for sql in sqls:
        parts.append(_renumbered(sql, parameters))
        parameters += len(set(_PARAMETER.findall(sql)))
    first = ", ".join(f"w{number} AS ({sql})" for number, sql in enumerate(parts[:-1]))
    return f"WITH {first} {parts[-1]}" if first else parts[-1]


def _renumbered(sql: str, after: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + after}", sql)


def unnest(columns: Columns) -> str:
    """A row for each place of the arrays, `arrays` of these columns, as a table."""
    given = ", ".join(f"${number}::{of}[]" for number, of in enumerate(columns.values(), start=1))
    return f"unnest({given}) AS u ({', '.join(columns)})"


def flat(parts: Parts) -> list[tuple[int, Row, Row]]:
    """Partition, key columns and value columns of each row."""
    return [
        (target.partition, key, values) for target, rows in parts for key, values in rows.items()
    ]


def arrays(projection: Projection, rows: Iterable[tuple[int, Row, Row]]) -> list[list[Any]]:
    """Rows as one array a column, the partition's first; in key order, so that two writers never
    wait for each other in a ring."""
    stored = ((part, *key, *projection.store(values)) for part, key, values in sorted(rows))
    return [*map(list, zip(*stored, strict=True))]
