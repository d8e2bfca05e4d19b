"""The rows of the fault matrix: by id, what each injects."""

import importlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.tools.faults.bench import Bench

STALE_GRACE_S = 2.0  # after Redis answers again: failed refreshes are retried within a second

Inject = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """`inject` injects the fault, holds it and heals it, even if it raises.

    `stale_reads`: Redis hangs or is unreachable meanwhile, so reads may be stale until it answers.
    `silence`: the web process hangs meanwhile, so requests may get no answer.
    `publishes_fail`: RabbitMQ fails meanwhile, so events may arrive out of order.
    `load`: one of LOADS, if the row needs a certain one.
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
    """Registers the decorated function as a row. `excuses`: `stale_reads`, `silence` or
    `publishes_fail` of Row. The variants of a row are named F08-crash, F08-end ...
    """

    def register(inject: Inject) -> Inject:
        assert name not in ROWS, f"two rows {name}"
        ROWS[name] = Row(name, title, inject, load=load, **excuses)
        return inject

    return register


def combine(rows: Sequence[Row]) -> Row:
    """One row that injects all `rows`, one after another, with the excuses of each. Stale reads are
    excused only during the rows that have that excuse.
    """

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
    """Injects the row's fault and heals the bench, even if the row raises."""
    began_s = time.monotonic()
    try:
        await row.inject(bench)
    finally:
        bench.heal()
        if row.stale_reads:
            bench.stale_times.append((began_s, time.monotonic() + STALE_GRACE_S))


def all_rows() -> dict[str, Row]:
    """Every row, in the matrix's order, from the files rows_*.py in this folder."""
    for file in sorted(Path(__file__).parent.glob("rows_*.py")):
        importlib.import_module(f"tests.tools.faults.{file.stem}")
    return dict(sorted(ROWS.items()))
