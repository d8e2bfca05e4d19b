"""What is measured otherwise than by rounds of requests: the only list of it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.benchmarks.cases import Prepared
from tests.benchmarks.figures import Figure
from tests.benchmarks.service import say
from tests.stack import Stack


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    seconds: float
    rounds: int
    orders: int
    events: int
    rate: float | None


Measure = Callable[[Prepared, Wanted], Awaitable[list[Figure]]]


def startup(stack: Stack, rounds: int) -> list[Figure]:
    """Seconds from the command to `ready`, on a state folder that has been up before."""
    say("startup: making the state folder")
    with stack.up():
        pass
    seconds = []
    for number in range(1, rounds + 1):
        began = time.monotonic()
        with stack.up():
            seconds.append(time.monotonic() - began)
        say(f"  startup {number}/{rounds} {seconds[-1]:.1f} s")
    return [Figure("startup", "s", tuple(seconds))]


MEASURES: dict[str, Measure] = {}
