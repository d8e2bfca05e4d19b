"""Executes operators' requests in a worker.

A retry or a skip is a short transaction, done at once. A replay may take hours and starts processes
of its own, which Celery's processes may not do. So the worker starts the `replay` command as a
separate process and does not wait for it: the command records its own progress (`replay.state`),
and the lock of its database session shows whether it still runs.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from projections.operators import dead_letters
from projections.operators.requests import OperatorRequest, Outcome, claim, finish
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)


async def serve(engine: AsyncEngine, cache: OrderCache) -> None:
    """All waiting requests are done, or their replay process has started."""
    claimed = await claim(engine)
    for one in claimed:
        logger.info("Executing %s of %s, request %s.", one.kind, one.projection, one.request_id)
    rebuilds = [one for one in claimed if one.kind == "rebuild"]
    if rebuilds:  # one replay for all, so that the log is read once
        _start_replay([*dict.fromkeys(one.projection for one in rebuilds)], rebuilds)
    for one in claimed:
        if one.kind == "rollback":
            _start_replay(["--rollback", one.projection], [one])
        elif one.kind != "rebuild":
            await retry_or_skip(engine, cache, one)


def _start_replay(words: Sequence[str], requests: Sequence[OperatorRequest]) -> None:
    options = (word for one in requests for word in ("--request", str(one.request_id)))
    command = [sys.executable, "-m", "order_service.cli", "replay", *words, *options]
    # Its output is for a terminal and is discarded; its log goes where this process's log goes.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
    # Waits for the process, so that no zombie is left after it has ended.
    threading.Thread(target=process.wait, name="replay", daemon=True).start()


async def retry_or_skip(engine: AsyncEngine, cache: OrderCache, request: OperatorRequest) -> None:
    """A retry or a skip is done, and its outcome is recorded."""
    try:
        outcome, detail = await _outcome_of(engine, cache, request)
    except Exception as error:
        await finish(engine, [request.request_id], "failed", type(error).__name__)
        raise
    await finish(engine, [request.request_id], outcome, detail)


async def _outcome_of(
    engine: AsyncEngine, cache: OrderCache, request: OperatorRequest
) -> tuple[Outcome, str | None]:
    projection = PROJECTIONS[request.projection]
    assert request.stream_id is not None, "web submits a stream's id"
    try:
        if request.kind == "retry":
            applied = await dead_letters.retry(engine, cache, projection, request.stream_id)
        else:
            assert request.reason is not None, "web submits a reason"
            applied = await dead_letters.skip(
                engine, cache, projection, request.stream_id, request.reason
            )
        if applied:
            return "done", None
        async with engine.connect() as connection:
            letter = await dead_letters.read_one(connection, projection.name, request.stream_id)
        return "still-parked", letter.error
    except dead_letters.NotParked as error:
        return "not-parked", str(error)
    except dead_letters.ReplayRunning as error:
        return "replay-running", str(error)
