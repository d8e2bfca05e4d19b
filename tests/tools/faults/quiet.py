"""Whether the bench is quiet: everything runs, nothing lags, and no message waits in a queue."""

from tests.support.servers.quiet import QUEUES, NotQuiet, missing, until_steady
from tests.tools.faults import tap
from tests.tools.faults.bench import Bench

__all__ = ["NotQuiet", "until_quiet"]
ROLES = ("web", "relay", "consumer", "worker", "flower", "postgres", "redis", "rabbitmq")
RECOVERY_S = 90.0  # after a fault, with the backlog of the load meanwhile
DRAINED_PER_S = 1_000  # events of a backlog, at least


async def until_quiet(bench: Bench, steady_s: float) -> None:
    """Returns once the bench has been quiet for `steady_s`. Raises NotQuiet after RECOVERY_S plus
    the time for the load's backlog.
    """
    limit_s = RECOVERY_S + bench.shop.load.backlog / DRAINED_PER_S
    try:
        await until_steady(lambda: _missing(bench), steady_s, limit_s)
    except NotQuiet as error:
        raise NotQuiet(f"O3, after the fault: {error}") from None


async def _missing(bench: Bench) -> str:
    """Why the bench is not quiet; empty if it is."""
    if down := [role for role in ROLES if not bench.runs(role)]:
        return f"{', '.join(down)} not running"
    return await missing(bench.stack, bench.settings, (*QUEUES, tap.QUEUE))
