"""The rows of the fault matrix: what each injects, by its id."""

import importlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.tools.faults.bench import Bench

STALE_GRACE_S = 2.0  # Redis answers again: refreshes that failed are retried within a second

Inject = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """`inject` hurts the bench, holds and heals it, also when it fails.

    `stale_reads`: Redis hangs or is cut off meanwhile, so old contents may be seen until then.
    `silence`: the web process itself hangs meanwhile, so requests may go without an answer.
    `publishes_fail`: RabbitMQ fails meanwhile, so that events may appear out of order.
    `load`: of LOADS, where the row is about a certain one.
    """

    name: str
    title: str
    inject: Inject
    stale_reads: bool = False
    silence: bool = False
    publishes_fail: bool = False
    load: str = "mix"


ROWS: dict[str, Row] = {}


def row(name: str, title: str, *, load: str = "mix", **excuses: bool) -> Callable[[Inject], Inject]:
    """Enters the decorated function as that row; `excuses` are those of Row. Variants are called
    F08-crash, F08-end ..."""

    def enter(inject: Inject) -> Inject:
        assert name not in ROWS, f"two rows {name}"
        ROWS[name] = Row(name, title, inject, load=load, **excuses)
        return inject

    return enter


def together(rows: Sequence[Row]) -> Row:
    """All of them, one after another under one load, with the excuses of each; those that came of
    stale reads hold for their own time only."""

    async def inject_each(bench: Bench) -> None:
        for row in rows:
            await inject(bench, row)

    return Row(
        "+".join(row.name for row in rows),
        "; ".join(row.title for row in rows),
        inject_each,
        silence=any(row.silence for row in rows),
        publishes_fail=any(row.publishes_fail for row in rows),
    )


async def inject(bench: Bench, row: Row) -> None:
    """The row's fault has come and gone, whatever came of it."""
    began_s = time.monotonic()
    try:
        await row.inject(bench)
    finally:
        bench.heal()
        if row.stale_reads:
            bench.stale_times.append((began_s, time.monotonic() + STALE_GRACE_S))


def all_rows() -> dict[str, Row]:
    """Every row, in the matrix's order; their files are rows_*.py beside this one."""
    for file in sorted(Path(__file__).parent.glob("rows_*.py")):
        importlib.import_module(f"tests.tools.faults.{file.stem}")
    return dict(sorted(ROWS.items()))
