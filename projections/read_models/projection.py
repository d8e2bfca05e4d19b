"""The projection type, and the writing of rows to the tables of its generations.

A projection defines which rows one order's change makes (pure), how rows are added up (pure) and
how they are written. The loop does the rest: it reads and folds events, counts each once, and parks
streams that fail.
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
Statement = tuple[str, Sequence[list[Any]]]  # SQL with $1, $2 for arrays, and the arrays
Columns = Mapping[str, str]  # name to SQL type


@immutable
class Projection:
    """`version`: raise it when the same log would make other rows; then a replay is needed.

    `key` and `values` name the columns besides generation and partition. `rows` returns the rows
    that one change makes; `add` adds a later row to an earlier one; `statements` returns the SQL
    that writes rows of several partitions of one generation, in order (see `write`). With
    `one_row_per_order` the key is the order's id and a later row replaces an earlier one, so a
    rebuild can COPY rows and `verify` can read ranges. `refresh` updates the cache after the
    commit. `store` converts values to what the table holds; `restore` converts them back.
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
    """One partition of one generation: each has one checkpoint."""

    projection: Projection
    generation: int
    partition: int
    partitions: int

    @property
    def table(self) -> str:
        return table_of(self.projection.name, self.generation)

    @property
    def identity(self) -> dict[str, Any]:
        """The checkpoint's key, as SQL parameters."""
        return {
            "name": self.projection.name,
            "generation": self.generation,
            "partition": self.partition,
        }


Parts = Sequence[tuple[Target, Rows]]  # of one generation, one entry a partition; never empty

_STATEMENTS_MAX = 64  # combinations of SQL texts; few occur
_PARAMETER = re.compile(r"\$(\d+)")


def table_of(name: str, generation: int) -> str:
    """The generation's table: a partition of `read_models.<name>`, or to be attached to it."""
    return f"read_models.{name}_{generation}"


async def write(connection: AsyncConnection, *of_each: Parts) -> None:
    """Rows of several projections are in their tables. The first statements of all projections are
    sent as one, then the second ones.

    The worker waits for a core after each round trip. At 2,000 orders a second the lag's median is
    12 to 19 ms with one round trip a projection, and 10 ms with one for all (`bench lag --rate
    4000`, three alternating runs of each)."""
    statements = (parts[0][0].projection.statements(parts) for parts in of_each)
    for same_rank in zip_longest(*statements):
        sqls, arguments = zip(*filter(None, same_rank), strict=True)
        await connection.exec_driver_sql(_as_one(sqls), tuple(chain.from_iterable(arguments)))


@lru_cache(_STATEMENTS_MAX)
def _as_one(sqls: tuple[str, ...]) -> str:
    """One statement that does the work of all, each on a different table. Each one's parameters
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
    """SQL for FROM: a table `u` with one row for each index of the arrays that `arrays` returns for
    these columns."""
    parameters = ", ".join(
        f"${number}::{of}[]" for number, of in enumerate(columns.values(), start=1)
    )
    return f"unnest({parameters}) AS u ({', '.join(columns)})"


def flat(parts: Parts) -> list[tuple[int, Row, Row]]:
    """Each row as (partition, key columns, value columns)."""
    return [
        (target.partition, key, values) for target, rows in parts for key, values in rows.items()
    ]


def arrays(projection: Projection, rows: Iterable[tuple[int, Row, Row]]) -> list[list[Any]]:
    """The rows as one array a column, the partition's first. They are in key order, so that two
    writers never deadlock."""
    stored = ((part, *key, *projection.store(values)) for part, key, values in sorted(rows))
    return [*map(list, zip(*stored, strict=True))]
