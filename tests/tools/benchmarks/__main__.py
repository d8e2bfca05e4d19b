"""bench: measures the service and two yardsticks in the same run, on a private stack.

The yardsticks are served like the web role: `bare`, FastAPI routes that answer the same bytes;
`thin`, a hand-written minimal service (token, one INSERT or one GET of Redis). Every round measures
the service and both yardsticks in turn, each after the pipeline has drained; every answer is
checked.
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
from tests.tools.benchmarks.cases import CASES, Options, prepare
from tests.tools.benchmarks.figures import Figure, report
from tests.tools.benchmarks.measures import MEASURES, startup
from tests.tools.benchmarks.rounds import measure
from tests.tools.benchmarks.service import SETTINGS, opened

STARTUP = "startup"
VERIFIED_EVENTS_MAX = 500_000  # `verify` takes a minute for so many
NAMES = (STARTUP, *CASES, *MEASURES)
DEFAULT = (STARTUP, *CASES, "sustained", "lag", "disk")


def main(arguments: Sequence[str]) -> int:
    options, names, file = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the stack is ended
    load_generator = wrk.find()
    with new_stack(**SETTINGS, FLOWER_PORT=str(free_port())) as stack:
        figures = startup(stack, options.rounds) if STARTUP in names else []
        say("starting the stack")
        with stack.up():
            result = asyncio.run(_measure(stack, load_generator, names, options, figures))
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n")
    return 0


async def _measure(
    stack: Stack,
    load_generator: wrk.Wrk,
    names: Sequence[str],
    options: Options,
    figures: list[Figure],
) -> dict[str, Any]:
    async with opened(stack, load_generator) as service:
        say(f"preparing {options.orders:,} orders")
        await service.register_users()
        generator = await service.make_models()
        await service.fill(generator, options.orders)
        with tempfile.TemporaryDirectory(prefix="order-service-bench-") as folder:
            prepared = await prepare(service, generator, Path(folder), options.seconds)
            data = {"orders": options.orders, "events": await service.events()}
            where = await machine.describe(
                service.database, service.redis, service.broker_version()
            )
            with yardsticks.running(service.settings, Path(folder)) as service.yardsticks:
                for name in names:
                    if name == STARTUP:
                        continue
                    say(name)
                    if name in CASES:
                        figures += await measure(CASES[name], prepared, options.rounds)
                    else:
                        figures += await MEASURES[name](prepared, options)
                    service.usage()
        await service.drain()
        if await service.events() <= VERIFIED_EVENTS_MAX:
            say("verify")  # after all this load every read model must still match the log
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


def _parse(arguments: Sequence[str]) -> tuple[Options, list[str], Path | None]:
    parser = words.parser("bench", __doc__)
    names_help = (
        f"any of {', '.join(NAMES)}, or a part before a hyphen; default: {', '.join(DEFAULT)}"
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=names_help)
    add("--seconds", type=float, default=3.0, metavar="N", help="seconds of one turn (3)")
    add("--rounds", type=int, default=3, metavar="N", help="rounds of every case (3)")
    add(
        "--orders",
        type=int,
        default=10_000,
        metavar="N",
        help="orders in the log at the start (10,000)",
    )
    add(
        "--events",
        type=int,
        default=1_000_000,
        metavar="N",
        help="events of replay, scale, bulk (1,000,000)",
    )
    add("--rate", type=float, metavar="N", help="orders/s of sustained and lag; default: measured")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON")
    given = parser.parse_args(arguments)
    names = words.select(parser, "benchmark", given.names, NAMES)
    options = Options(given.seconds, given.rounds, given.orders, given.events, given.rate)
    return options, names or list(DEFAULT), given.json


if __name__ == "__main__":
    end_with(main)
