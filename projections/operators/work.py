"""Doing what operators ask for, in a worker.

A retry or a skip is a short transaction, done at once. A replay may take hours, and has processes
of its own, which a process of Celery's may not have: so it is the very command that an operator
would run, as a process beside the worker. Nobody here waits for it: it says how it goes itself
(`replay_state`), and whether it still lives the database knows.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from projections.operators import dead_letters
from projections.operators.requests import Asked, Outcome, claim, finish
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)


async def serve(engine: AsyncEngine, cache: OrderCache) -> None:
    """All that waited is done, or a process that does it has been started."""
    asked = await claim(engine)
    for one in asked:
        logger.info("An operator asks: %s of %s, %s", one.kind, one.projection, one.request_id)
    rebuilds = [one for one in asked if one.kind == "rebuild"]
    if rebuilds:  # together: one reading of the log feeds all of them
        _start_replay([*dict.fromkeys(one.projection for one in rebuilds)], rebuilds)
    for one in asked:
        if one.kind == "rollback":
            _start_replay(["--rollback", one.projection], [one])
        elif one.kind != "rebuild":
            await mend(engine, cache, one)


def _start_replay(words: Sequence[str], asked: Sequence[Asked]) -> None:
    requests = (word for one in asked for word in ("--request", str(one.request_id)))
    command = [sys.executable, "-m", "order_service.cli", "replay", *words, *requests]
    # What it prints is for a terminal; what it logs goes where this process's logs go.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
    # So that nothing is left of it in the table of processes after it has ended.
    threading.Thread(target=process.wait, name="replay", daemon=True).start()


async def mend(engine: AsyncEngine, cache: OrderCache, asked: Asked) -> None:
    """A retry or a skip is done, and its row says what came of it."""
    try:
        outcome, detail = await _mended(engine, cache, asked)
    except Exception as error:
        await finish(engine, [asked.request_id], "failed", type(error).__name__)
        raise
    await finish(engine, [asked.request_id], outcome, detail)


async def _mended(
    engine: AsyncEngine, cache: OrderCache, asked: Asked
) -> tuple[Outcome, str | None]:
    projection = PROJECTIONS[asked.projection]
    assert asked.stream_id is not None, "web asks for streams"
    try:
        if asked.kind == "retry":
            goes_on = await dead_letters.retry(engine, cache, projection, asked.stream_id)
        else:
            assert asked.reason is not None, "web asks for a reason"
            goes_on = await dead_letters.skip(
                engine, cache, projection, asked.stream_id, asked.reason
            )
        if goes_on:
            return "done", None
        async with engine.connect() as connection:
            letter = await dead_letters.shown(connection, projection.name, asked.stream_id)
        return "still-parked", letter.error
    except dead_letters.NotParked as error:
        return "not-parked", str(error)
    except dead_letters.ReplayRuns as error:
        return "replay-running", str(error)
