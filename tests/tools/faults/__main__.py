"""faults: injects the faults of the matrix into a private stack under load, row by row. It checks
that nothing acknowledged is lost, nothing is doubled, no customer sees another's orders, and the
service recovers by itself.

A row holds its fault for 30 seconds; F57 draws rows from the seed for 10 minutes. After a row with
broken promises the next row gets a fresh stack; the journal and the logs are kept.
"""

import asyncio
import json
import logging
import random
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from order_service.stack.commands import end_with
from tests.support.servers.stack import say
from tests.tools import words
from tests.tools.faults.bench import Bench, running_bench
from tests.tools.faults.engine import Engine, Result
from tests.tools.faults.loads import LOADS
from tests.tools.faults.rows import Row, all_rows
from tests.tools.faults.rows_everything import EVERYTHING
from tests.tools.faults.table import table

HOLD_S = 30.0
STEADY_S = 5.0
EVERYTHING_MINUTES = 10.0
SEED_MAX = 2**31


@dataclass(frozen=True)
class Options:
    rows: Sequence[Row]
    seed: int
    minutes: float | None  # of each row; None: one run
    repeat_options: str  # repeat the same load, together with the rows
    file: Path | None


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the stack is ended
    logging.disable()  # drivers log every error of the servers under fault
    say(f"seed {options.seed}")
    results = asyncio.run(_run(options))
    print(table(results))
    if options.file:
        report = {"seed": options.seed, "rows": [result.as_json() for result in results]}
        options.file.write_text(json.dumps(report, indent=1) + "\n")
    broken = [result.row for result in results if result.broken]
    if broken:
        print(f"\nrepeat: ./entrypoint.sh faults {' '.join(broken)} {options.repeat_options}")
    return 1 if broken else 0


async def _run(options: Options) -> list[Result]:
    results = [Result(row.name, row.title) for row in options.rows]
    waiting = deque(zip(options.rows, results, strict=True))
    while waiting:
        say("starting a stack")
        async with running_bench(options.seed, HOLD_S) as bench:
            engine, is_sound = Engine(bench, options.seed, STEADY_S), True
            while waiting and is_sound:
                row, result = waiting.popleft()
                await _run_row(engine, row, result, options.minutes)
                is_sound = not result.broken
            if not is_sound:
                _keep_evidence(bench)
    return results


async def _run_row(engine: Engine, row: Row, result: Result, minutes: float | None) -> None:
    """Runs the row once, or repeatedly for `minutes`; F57 spends its minutes in one run."""
    engine.bench.everything_s = (minutes or EVERYTHING_MINUTES) * 60
    until_s = time.monotonic() + (minutes or 0.0) * 60
    while True:
        say(f"{row.name}: {row.title}, run {result.runs + 1}")
        await engine.run(row, result)
        for line in result.broken:
            say(f"  BROKEN: {line}")
        if result.broken or row.name == EVERYTHING or time.monotonic() >= until_s:
            return


def _keep_evidence(bench: Bench) -> None:
    folder = Path(tempfile.mkdtemp(prefix="order-service-faults-"))
    shutil.copytree(bench.stack.state / "logs", folder / "logs")
    shutil.copy(bench.journal.path, folder)
    say(f"  journal and logs: {folder}")


def _parse(arguments: Sequence[str]) -> Options:
    parser = words.parser("faults", __doc__)
    known = all_rows()
    titles = "; ".join(f"{name}: {row.title}" for name, row in known.items())
    add = parser.add_argument
    add("rows", nargs="*", metavar="ROW", help=f"default: all but F57. {titles}")
    loads = "; ".join(f"{name}: {load.title}" for name, load in LOADS.items())
    add("--load", choices=LOADS, help=f"for every row; default: the row's own, or mix. {loads}")
    add("--seed", type=int, metavar="N", help="seed of load and rows; default: random, and printed")
    add("--minutes", type=float, metavar="N", help="minutes of each row; default: one run")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON")
    given = parser.parse_args(arguments)
    selection = given.rows or [name for name in known if name != EVERYTHING]
    names = words.select(parser, "row", selection, known)
    seed = random.randrange(SEED_MAX) if given.seed is None else given.seed
    rows = [known[n] if given.load is None else replace(known[n], load=given.load) for n in names]
    repeat_options = f"--seed {seed}" + (f" --load {given.load}" if given.load else "")
    return Options(rows, seed, given.minutes, repeat_options, given.json)


if __name__ == "__main__":
    end_with(main)
