"""Waits until a running stack is quiet: it is ready, nothing lags, and no message waits in a queue.

Tests on one stack share counters, lags, the cache and queues. A test that reads one of them first
waits for a quiet stack, since events of the test before may still be in progress.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx
from aiormq.exceptions import AMQPError
from redis.exceptions import RedisError

from order_service.infra import rabbitmq
from order_service.infra.postgres import FAILURES
from order_service.settings import Settings
from order_service.stack.state import State
from tests.support.servers.stack import Stack, database_arguments
from tests.support.waiting import WAIT_S

# What drivers raise for an unavailable server. RuntimeError: aiormq's and asyncpg's transports
# raise it for a connection that is closing.
AWAY: tuple[type[Exception], ...] = (
    *FAILURES, RedisError, AMQPError, httpx.TransportError, RuntimeError,
)  # fmt: skip

QUEUES = (rabbitmq.HINT_QUEUE, rabbitmq.TASK_QUEUE)
STEADY_S = 0.3
LOOK_S = 0.1
ANSWER_S = 5.0
_BEHIND = """
SELECT coalesce(sum(p.position - c.position), 0)::bigint FROM checkpoints c
JOIN partitions p ON p.partition = c.partition LEFT JOIN read_models m ON m.name = c.name
WHERE c.name = 'relay' OR c.generation = m.live_generation
"""


# Workers have the lowest priority: beside other load they take minutes for what takes seconds.
QUIET_S = 3 * WAIT_S


class NotQuiet(AssertionError):
    """The stack was not quiet in time; the text says what it still had to do."""


async def quiet(stack: Stack, limit_s: float = QUIET_S) -> None:
    """Returns once the stack has been quiet for STEADY_S; raises NotQuiet after `limit_s`."""
    settings = State(stack.state).read()["settings"]
    await until_steady(lambda: missing(stack, settings), STEADY_S, limit_s)


async def until_steady(look: Callable[[], Awaitable[str]], steady_s: float, limit_s: float) -> None:
    """Returns once `look` has returned nothing for `steady_s`; raises NotQuiet after `limit_s`."""
    deadline = time.monotonic() + limit_s
    quiet_since = None
    while quiet_since is None or time.monotonic() - quiet_since < steady_s:
        found = await look()
        if not found:
            quiet_since = quiet_since or time.monotonic()
        elif time.monotonic() > deadline:
            raise NotQuiet(f"not quiet after {limit_s:.0f} s: {found}")
        else:
            quiet_since = None
        await asyncio.sleep(LOOK_S)


async def missing(stack: Stack, settings: Mapping[str, str], queues: Sequence[str] = QUEUES) -> str:
    """Why the stack is not quiet; empty if it is."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _lag(settings) or await _waiting(settings, queues) or await _unready(stack)
    except AWAY as error:
        return repr(error)


async def _lag(settings: Mapping[str, str]) -> str:
    connection = await asyncpg.connect(**database_arguments(settings))
    try:
        behind = await connection.fetchval(_BEHIND)
    finally:
        await connection.close()
    return f"{behind} events behind, summed over relay and read models" if behind else ""


async def _waiting(settings: Mapping[str, str], queues: Sequence[str]) -> str:
    """The first queue that holds messages or has no consumer; empty if there is none."""
    connection = await rabbitmq.connect(Settings.model_validate(settings), "tests")
    try:
        channel = await connection.channel()
        for name in queues:
            found = (await channel.declare_queue(name, passive=True)).declaration_result
            if found.message_count or not found.consumer_count:
                return f"{name}: {found.message_count} wait, {found.consumer_count} consume"
    finally:
        with suppress(*AWAY):
            await connection.close()
    return ""


async def _unready(stack: Stack) -> str:
    async with stack.client() as client:
        answer = await client.get("/readyz")
    return "" if answer.status_code == 200 else f"not ready: {answer.text}"


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    asyncio.run(quiet(Stack(Path(folder), int(port), os.environ)))
