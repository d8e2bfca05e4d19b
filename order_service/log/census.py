"""The census: how many events of each type and schema version the log has, and which of them this
code cannot read.

No index has the types: an append would pay for it. So the census reads the table once, in ranges of
blocks, each a short statement. Rows of the log never change or move, so no range misses a row that
was stored before the census began.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.infra.postgres import Role, create_engine
from order_service.log.codec import can_read
from order_service.settings import Settings

Show = Callable[[int, int], None]  # blocks read, of all

_BLOCKS = text(  # 0 before the first migration
    "SELECT coalesce(pg_relation_size(to_regclass('events')), 0) "
    "/ current_setting('block_size')::bigint"
)
_COUNTS = text(
    "SELECT type, schema_version, partition, count(*) AS events, min(position) AS first "
    "FROM events WHERE ctid >= CAST(CAST(:first AS text) AS tid) "
    "AND ctid < CAST(CAST(:end AS text) AS tid) GROUP BY type, schema_version, partition"
)


@dataclass(slots=True)
class Kind:
    """The events of one type and schema version. `first`: each partition's first position."""

    type: str
    schema_version: int
    events: int = 0
    first: dict[int, int] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        """Whether this code knows the type and the version; a payload may still be malformed."""
        return can_read(self.type, self.schema_version)

    def where(self) -> str:
        return "; ".join(f"partition {p}, position {at}" for p, at in sorted(self.first.items()))


async def census(engine: AsyncEngine, show: Show) -> list[Kind]:
    """All types and schema versions in the log, ascending; empty if there is no log yet."""
    kinds: dict[tuple[str, int], Kind] = {}
    async with engine.connect() as pooled:
        # Each range is a transaction of its own: a long one would keep vacuum from its work.
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        blocks = (await connection.execute(_BLOCKS)).scalar_one()
        for first in range(0, blocks, limits.CENSUS_BLOCKS):
            await _count(connection, first, kinds)
            show(min(first + limits.CENSUS_BLOCKS, blocks), blocks)
    return [kinds[key] for key in sorted(kinds)]


async def _count(
    connection: AsyncConnection, first: int, kinds: dict[tuple[str, int], Kind]
) -> None:
    """`kinds` has the events of the CENSUS_BLOCKS blocks from `first` on, too."""
    bounds = {"first": f"({first},0)", "end": f"({first + limits.CENSUS_BLOCKS},0)"}
    for row in await connection.execute(_COUNTS, bounds):
        key = (row.type, row.schema_version)
        kind = kinds.setdefault(key, Kind(*key))
        kind.events += row.events
        kind.first[row.partition] = min(row.first, kind.first.get(row.partition, row.first))


async def unreadable(settings: Settings, role: Role | None, word: str) -> str | None:
    """Why `word`, which needs to read every event, cannot begin; None if this code knows every type
    and schema version in the log."""
    engine = create_engine(settings, role, application_name="census", pool_size=1)
    try:
        unknown = [kind for kind in await census(engine, progress()) if not kind.readable]
    finally:
        await engine.dispose()
    return refusal(word, unknown) if unknown else None


def refusal(word: str, unknown: list[Kind]) -> str:
    """Short, since a replay's refusal is stored: the first kinds, each with one position."""
    lines = [
        f"  {kind.type} v{kind.schema_version}: {kind.events:,}, the first of them at partition "
        f"{partition}, position {position}"
        for kind in unknown[: limits.CENSUS_KINDS_SHOWN]
        for partition, position in sorted(kind.first.items())[:1]
    ]
    if len(unknown) > len(lines):
        lines.append("  and more: `./entrypoint.sh status --events` lists all")
    return "\n".join(
        [
            f"Cannot {word}: this code cannot read some events of the log.",
            *lines,
            "Run the version of the service that wrote them, or a newer one. "
            f"`{word} --anyway` goes on: orders with such events stay unreadable.",
        ]
    )


def progress() -> Show:
    """Prints a line to standard error every PROGRESS_LINE_S, so none for a short log."""
    began = shown = time.monotonic()

    def show(done: int, blocks: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < limits.PROGRESS_LINE_S:
            return
        shown = now
        left_s = (now - began) * (blocks - done) / done
        print(
            f"census: {done / blocks:.0%} of the log, {left_s:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return show
