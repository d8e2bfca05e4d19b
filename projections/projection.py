"""What a projection is, and the generations of its table. May import the log and cache.

A projection says which rows one order's change makes (pure), how such rows come together (pure) and
how they are written. Everything else is the loop's: reading, folding, counting once, parking.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, TIMESTAMP, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from order_service.cache import OrderCache
from order_service.domain.immutable import immutable
from order_service.log.fold import FoldedOrder

Change = tuple[FoldedOrder | None, FoldedOrder]  # an order before and after some of its events
Row = tuple[Any, ...]
Rows = dict[Row, Row]  # key columns to value columns


@immutable
class Projection:
    """`version`: raise it when the same log would make other rows; a replay must follow.

    `key` and `values` name the columns beside generation and partition. `rows` is what one change
    makes of the table; `add` brings a row and a later change of it together; `write` takes rows of
    several partitions of one generation, in one statement. With
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
    write: Callable[[AsyncConnection, "Parts"], Awaitable[None]]
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


def table_of(name: str, generation: int) -> str:
    """A generation's own table: a child of `read_models.<name>`, or about to become one."""
    return f"read_models.{name}_{generation}"


class UtcTime(TIMESTAMP):
    def __init__(self) -> None:
        super().__init__(timezone=True)


def with_arrays(sql: str, **types: type[TypeEngine[Any]]) -> TextClause:
    """A statement whose named parameters are arrays: one statement, however many rows."""
    return text(sql).bindparams(*(bindparam(name, type_=ARRAY(t)) for name, t in types.items()))


def flat(parts: Parts) -> list[tuple[int, Row, Row]]:
    """Partition, key columns and value columns of each row."""
    return [
        (target.partition, key, values) for target, rows in parts for key, values in rows.items()
    ]


def arrays(projection: Projection, rows: Sequence[tuple[int, Row, Row]]) -> dict[str, list[Any]]:
    """Rows as one array a column; in key order, so that two writers never wait for each other in a
    ring."""
    names = ("partition", *projection.key, *projection.values)
    stored = ((part, *key, *projection.store(values)) for part, key, values in sorted(rows))
    columns = zip(*stored, strict=True)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}
