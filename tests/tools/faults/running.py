"""The bench as a fixture: one for a whole run of pytest. It has its own thread, so its proxies pass
bytes whatever a test does.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from tests.support.servers.stack import Stack
from tests.tools.faults.bench import running_bench
from tests.tools.faults.engine import Engine, Result
from tests.tools.faults.rows import Row, combine

SEED = 1
HOLD_S = 0.5
STEADY_S = 0.3
T = TypeVar("T")


@dataclass(frozen=True)
class RunningBench:
    engine: Engine
    loop: asyncio.AbstractEventLoop

    def run(self, *rows: Row) -> Result:
        """Runs all rows, one after another; returns the result."""
        row = combine(rows)
        result = Result(row.name, row.title)
        _run(self.loop, self._run(row, result))
        return result

    async def _run(self, row: Row, result: Result) -> None:
        # The orders that other tests have placed on this stack are in no journal.
        bench = self.engine.bench
        streams = {record[0] for record in await bench.sql("SELECT DISTINCT stream_id FROM events")}
        bench.strangers |= streams - {attempt.order_id for attempt in bench.journal.attempts}
        await self.engine.run(row, result)


@pytest.fixture(scope="session")
def bench() -> Iterator[RunningBench]:
    with _loop_in_thread() as loop:
        opened = running_bench(SEED, HOLD_S)
        found = _run(loop, opened.__aenter__())
        try:
            yield RunningBench(Engine(found, SEED, STEADY_S), loop)
            assert found.stack.leaks() == []  # by no test of this run
        finally:
            _run(loop, opened.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def stack(bench: RunningBench) -> Stack:
    """The whole service as an operator runs it, except for the proxies to its servers."""
    return bench.engine.bench.stack


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
