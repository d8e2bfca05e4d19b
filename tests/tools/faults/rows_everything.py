"""F57: random rows, one after another, drawn from the seed, under a continuous load."""

import asyncio
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psutil

from tests.support.servers.stack import say
from tests.tools.faults.bench import Bench
from tests.tools.faults.following import AWAY
from tests.tools.faults.rows import ROWS, inject, row

EVERYTHING = "F57"
PICK_S = 10.0
HOLD_MIN_S, HOLD_MAX_S = 0.5, 8.0
PICK_LIMIT_S = 120.0


@dataclass(frozen=True)
class Pick:
    at_s: float
    row: str
    hold_s: float

    def __str__(self) -> str:
        return f"{self.at_s:.0f} s: {self.row} for {self.hold_s:.1f} s"


def schedule(rng: random.Random, names: Sequence[str], seconds: float) -> list[Pick]:
    """The picks; the same for the same seed, rows and time."""
    return [
        Pick(n * PICK_S, rng.choice(names), rng.uniform(HOLD_MIN_S, HOLD_MAX_S))
        for n in range(max(1, int(seconds / PICK_S)))
    ]


@row(EVERYTHING, "Everything, one after another", silence=True, publishes_fail=True)
async def everything(bench: Bench) -> None:
    """A row may fail because an earlier row's damage is still there: that is printed, but it is no
    finding. The findings are those of the checks at the end.
    """
    names = [name for name in sorted(ROWS) if name != EVERYTHING]
    picks = schedule(bench.rng, names, bench.everything_s)
    say("  schedule: " + "; ".join(map(str, picks)))
    began_s = time.monotonic()
    for pick in picks:
        await asyncio.sleep(max(0.0, began_s + pick.at_s - time.monotonic()))
        say(f"  {pick}")
        picked = replace(bench, hold_s=pick.hold_s)
        try:
            async with asyncio.timeout(PICK_LIMIT_S):
                await inject(picked, ROWS[pick.row])
        except (AssertionError, psutil.Error, subprocess.SubprocessError, *AWAY) as error:
            say(f"  {pick.row} failed: {error!r}")
