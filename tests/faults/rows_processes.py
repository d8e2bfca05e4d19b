"""Rows of our own processes: web, relay, consumer and worker, killed, paused and crowded."""

from tests.faults.bench import Bench
from tests.faults.rows import row


@row("F20", "The relay is killed")
async def relay_killed(bench: Bench) -> None:
    await bench.kill("relay")
    await bench.hold()
