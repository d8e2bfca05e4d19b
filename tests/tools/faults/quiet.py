"""Whether the bench is quiet: everything runs, nothing lags, and no message waits in a queue."""

import asyncio
import time
from contextlib import suppress

from order_service.infra import rabbitmq
from order_service.settings import Settings
from tests.tools.faults import tap
from tests.tools.faults.bench import Bench
from tests.tools.faults.following import AWAY

ROLES = ("web", "relay", "consumer", "worker", "flower", "postgres", "redis", "rabbitmq")
RECOVERY_S = 90.0  # after a fault, with the backlog of the load meanwhile
DRAINED_PER_S = 1_000  # events of a backlog, at least
LOOK_S = 0.1
CLIENT_TIMEOUT_S = 5.0
_BEHIND = """
SELECT coalesce(sum(p.position - c.position), 0)::bigint FROM checkpoints c
JOIN partitions p ON p.partition = c.partition LEFT JOIN read_models m ON m.name = c.name
WHERE c.name = 'relay' OR c.generation = m.live_generation
"""


class NotQuiet(AssertionError):
    """What was still missing when the time was over."""


async def until_quiet(bench: Bench, steady_s: float) -> None:
    """Returns once the bench has been quiet for `steady_s`. Raises NotQuiet after RECOVERY_S plus
    the time for the load's backlog.
    """
    limit_s = RECOVERY_S + bench.shop.load.backlog / DRAINED_PER_S
    deadline = time.monotonic() + limit_s
    quiet_since = None
    while quiet_since is None or time.monotonic() - quiet_since < steady_s:
        missing = await _missing(bench)
        if not missing:
            quiet_since = quiet_since or time.monotonic()
        elif time.monotonic() > deadline:
            raise NotQuiet(f"O3: not quiet {limit_s:.0f} s after the fault: {missing}")
        else:
            quiet_since = None
        await asyncio.sleep(LOOK_S)


async def _missing(bench: Bench) -> str:
    """What keeps the bench from being quiet; nothing if it is."""
    if down := [role for role in ROLES if not bench.runs(role)]:
        return f"{', '.join(down)} not running"
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            return await _lag(bench) or await _waiting(bench) or await _not_ready(bench)
    except AWAY as error:
        return repr(error)


async def _lag(bench: Bench) -> str:
    [row] = await bench.sql(_BEHIND)
    return f"{row[0]} events behind, summed over relay and read models" if row[0] else ""


async def _not_ready(bench: Bench) -> str:
    async with bench.stack.client() as client:
        answer = await client.get("/readyz")
    return "" if answer.status_code == 200 else f"not ready: {answer.text}"


async def _waiting(bench: Bench) -> str:
    """A queue that holds something, or that nobody consumes."""
    connection = await rabbitmq.connect(Settings.model_validate(bench.settings), "faults")
    try:
        channel = await connection.channel()
        for name in (rabbitmq.HINT_QUEUE, rabbitmq.TASK_QUEUE, tap.QUEUE):
            found = (await channel.declare_queue(name, passive=True)).declaration_result
            if found.message_count or not found.consumer_count:
                return f"{name}: {found.message_count} wait, {found.consumer_count} consume"
    finally:
        with suppress(*AWAY):
            await connection.close()
    return ""
