"""bench: the service measured in one run with two yardsticks, on a stack of its own.

The yardsticks are served as the web role is: `bare`, FastAPI routes that answer the same bytes;
`thin`, a hand-written minimal service (token, one INSERT or one GET of Redis). Every round gives
each of them and the service its turn, on a service that has caught up; every answer is checked.
"""

import asyncio
import json
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from order_service.stack.commands import end_with
from order_service.stack.servers import free_port
from tests.support.servers.stack import Stack, new_stack, say
from tests.tools import words
from tests.tools.benchmarks import machine, wrk, yardsticks
from tests.tools.benchmarks.cases import CASES, Wanted, prepare
from tests.tools.benchmarks.figures import Figure, report
from tests.tools.benchmarks.measures import MEASURES, startup
from tests.tools.benchmarks.rounds import measure
from tests.tools.benchmarks.service import SETTINGS, opened

STARTUP = "startup"
VERIFIED_EVENTS_MAX = 500_000  # which takes a minute
NAMES = (STARTUP, *CASES, *MEASURES)
DEFAULT = (STARTUP, *CASES, "sustained", "lag", "disk")


def main(arguments: Sequence[str]) -> int:
    wanted, names, file = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is ended
    generator = wrk.find()
    with new_stack(**SETTINGS, FLOWER_PORT=str(free_port())) as stack:
        figures = startup(stack, wanted.rounds) if STARTUP in names else []
        say("starting the stack")
        with stack.up():
            result = asyncio.run(_measure(stack, generator, names, wanted, figures))
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n")
    return 0


async def _measure(
    stack: Stack, generator: wrk.Wrk, names: Sequence[str], wanted: Wanted, figures: list[Figure]
) -> dict[str, Any]:
    async with opened(stack, generator) as service:
        say(f"preparing {wanted.orders:,} orders")
        await service.enter_people()
        lives = await service.lead_lives()
        await service.fill(lives, wanted.orders)
        with tempfile.TemporaryDirectory(prefix="order-service-bench-") as folder:
            prepared = await prepare(service, lives, Path(folder), wanted.seconds)
            data = {"orders": wanted.orders, "events": await service.events()}
            where = await machine.describe(
                service.database, service.redis, service.broker_version()
            )
            with yardsticks.running(service.settings, Path(folder)) as service.yardsticks:
                for name in names:
                    if name == STARTUP:
                        continue
                    say(name)
                    if name in CASES:
                        figures += await measure(CASES[name], prepared, wanted.rounds)
                    else:
                        figures += await MEASURES[name](prepared, wanted)
                    service.usage()
        await service.drain()
        if await service.events() <= VERIFIED_EVENTS_MAX:
            say("verify")  # that all this load has left every read model as the log tells
            await service.command("verify")
    result = {
        "machine": where,
        "data": data,
        "figures": [figure.as_json() for figure in figures],
        "peak_memory_mb": dict(sorted(service.peaks_mb.items())),
    }
    _print(result, figures)
    return result


def _print(result: dict[str, Any], figures: Sequence[Figure]) -> None:
    print(report(figures))
    peaks = ", ".join(f"{role} {mb:.0f}" for role, mb in result["peak_memory_mb"].items())
    print(f"\npeak memory of the largest process of a role, MB: {peaks}")
    print("data at the start: {orders:,} orders, {events:,} events".format(**result["data"]))
    print("machine: " + ", ".join(f"{k} {v}" for k, v in result["machine"].items()))


def _parse(arguments: Sequence[str]) -> tuple[Wanted, list[str], Path | None]:
    parser = words.parser("bench", __doc__)
    of = f"of {', '.join(NAMES)}, or what comes before the hyphen; default: {', '.join(DEFAULT)}"
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=of)
    add("--seconds", type=float, default=3.0, metavar="N", help="of one turn (3)")
    add("--rounds", type=int, default=3, metavar="N", help="of every case (3)")
    add("--orders", type=int, default=10_000, metavar="N", help="in the log at the start (10,000)")
    add("--events", type=int, default=1_000_000, metavar="N", help="of replay, scale (1,000,000)")
    add("--rate", type=float, metavar="N", help="orders/s of sustained and lag; default: found")
    add("--json", type=Path, metavar="FILE", help="the same as data")
    given = parser.parse_args(arguments)
    names = words.chosen(parser, "benchmark", given.names, NAMES)
    wanted = Wanted(given.seconds, given.rounds, given.orders, given.events, given.rate)
    return wanted, names or list(DEFAULT), given.json


if __name__ == "__main__":
    end_with(main)
