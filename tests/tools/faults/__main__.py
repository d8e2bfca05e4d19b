"""faults: hurts a stack of its own in every way we know, row by row, under load, and shows that
nothing acknowledged was lost, nothing doubled, nobody saw what is not theirs, and everything came
back by itself.

A row holds its fault for 30 seconds; F57 draws rows from the seed for 10 minutes. A row whose
promises were broken gets the next ones a fresh stack; its journal and logs are kept.
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
class Wanted:
    rows: Sequence[Row]
    seed: int
    minutes: float | None  # of each row; None: once
    again: str  # what repeats it, beside the rows
    file: Path | None


def main(arguments: Sequence[str]) -> int:
    wanted = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is ended
    logging.disable()  # what drivers say of servers that we hurt is no news
    say(f"seed {wanted.seed}")
    results = asyncio.run(_run(wanted))
    print(table(results))
    if wanted.file:
        found = {"seed": wanted.seed, "rows": [result.as_json() for result in results]}
        wanted.file.write_text(json.dumps(found, indent=1) + "\n")
    broken = [result.row for result in results if result.broken]
    if broken:
        print(f"\nagain: ./entrypoint.sh faults {' '.join(broken)} {wanted.again}")
    return 1 if broken else 0


async def _run(wanted: Wanted) -> list[Result]:
    results = [Result(row.name, row.title) for row in wanted.rows]
    waiting = deque(zip(wanted.rows, results, strict=True))
    while waiting:
        say("starting a stack")
        async with running_bench(wanted.seed, HOLD_S) as bench:
            engine, is_sound = Engine(bench, wanted.seed, STEADY_S), True
            while waiting and is_sound:
                row, result = waiting.popleft()
                await _run_row(engine, row, result, wanted.minutes)
                is_sound = not result.broken
            if not is_sound:
                _keep_evidence(bench)
    return results


async def _run_row(engine: Engine, row: Row, result: Result, minutes: float | None) -> None:
    """Once, or again and again for so many minutes; F57 takes its minutes in one run."""
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


def _parse(arguments: Sequence[str]) -> Wanted:
    parser = words.parser("faults", __doc__)
    known = all_rows()
    titles = "; ".join(f"{name}: {row.title}" for name, row in known.items())
    add = parser.add_argument
    add("rows", nargs="*", metavar="ROW", help=f"all but F57 if none is named. {titles}")
    loads = "; ".join(f"{name}: {load.title}" for name, load in LOADS.items())
    add("--load", choices=LOADS, help=f"of every row; default: mix, or the row's own. {loads}")
    add("--seed", type=int, metavar="N", help="of load and rows; default: drawn, and printed")
    add("--minutes", type=float, metavar="N", help="of each row; default: one run of it")
    add("--json", type=Path, metavar="FILE", help="the same as data")
    given = parser.parse_args(arguments)
    wanted = given.rows or [name for name in known if name != EVERYTHING]
    names = words.chosen(parser, "row", wanted, known)
    seed = random.randrange(SEED_MAX) if given.seed is None else given.seed
    rows = [known[n] if given.load is None else replace(known[n], load=given.load) for n in names]
    again = f"--seed {seed}" + (f" --load {given.load}" if given.load else "")
    return Wanted(rows, seed, given.minutes, again, given.json)


if __name__ == "__main__":
    end_with(main)
