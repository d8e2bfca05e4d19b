"""Runs the processes of a replay and shows their progress."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tqdm import tqdm

from order_service import limits
from order_service.settings import Settings
from projections.read_models.generations import Build
from projections.replay.build import work
from projections.replay.processes import PROCESSES

_PROGRESS = text(
    "SELECT coalesce(sum(events), 0)::bigint AS done, coalesce(sum(up_to), 0)::bigint AS total, "
    "coalesce(bool_and(finished), true) AS finished FROM rebuild_marks WHERE name = ANY (:names)"
)


class ProcessFailed(Exception):
    """A replay process ended before its build was finished."""


async def build_all(
    engine: AsyncEngine,
    settings: Settings,
    builds: Sequence[Build],
    partitions: int,
    workers: int | None,
) -> None:
    """Every build holds all events up to its fixed positions. Raises ProcessFailed."""
    names = [build.projection.name for build in builds]
    count = min(workers or os.cpu_count() or 1, partitions)
    shares = [range(i, partitions, count) for i in range(count)]
    processes = [
        PROCESSES.Process(target=work, args=(settings, names, share), daemon=True)
        for share in shares
    ]
    for process in processes:
        process.start()
    try:
        await _show_progress(engine, names, processes)
    finally:
        for process in processes:
            process.terminate()  # no effect on a process that has ended
            process.join()
    async with engine.connect() as connection:
        finished = (await connection.execute(_PROGRESS, {"names": names})).one().finished
    if not finished:
        raise ProcessFailed


async def _show_progress(
    engine: AsyncEngine, names: Sequence[str], processes: Sequence[BaseProcess]
) -> None:
    """Shows progress until a process has failed or all have succeeded."""
    bar = None
    while True:
        failed = any(process.exitcode not in (None, 0) for process in processes)
        ended = failed or all(process.exitcode == 0 for process in processes)
        async with engine.connect() as connection:
            row = (await connection.execute(_PROGRESS, {"names": list(names)})).one()
        done, total = row.done // len(names), row.total // len(names)
        if bar is None:
            bar = Progress(total, done)
        bar.show(done, last=ended)
        if ended:
            return
        # The end of a process wakes it early: one interval is a twentieth of a short replay.
        running = [process.sentinel for process in processes if process.exitcode is None]
        await asyncio.to_thread(wait, running, limits.PROGRESS_INTERVAL_S)


class Progress:
    """Events, rate and remaining time: a bar on a terminal, else a line every few seconds."""

    def __init__(self, total: int, done: int) -> None:
        self._began, self._began_at = time.monotonic(), done
        self._total = total
        self._shown = float("-inf")
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=" events", unit_scale=True)

    def show(self, done: int, last: bool) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if last:
                self._bar.close()
            return
        now = time.monotonic()
        if last or now - self._shown >= limits.PROGRESS_LINE_S:
            self._shown = now
            rate = (done - self._began_at) / max(now - self._began, 0.001)
            remaining = f", {(self._total - done) / rate:.0f} s left" if rate and not last else ""
            print(
                f"{done:,} of {self._total:,} events, {rate:,.0f} events/s{remaining}", flush=True
            )
