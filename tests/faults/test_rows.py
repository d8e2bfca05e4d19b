"""The short rows of the fault matrix, some at a time, on one stack; `./entrypoint.sh faults` runs
each of them, and for longer."""

from collections.abc import Sequence

import pytest

from tests.tools.faults.bench import Bench
from tests.tools.faults.quiet import ROLES
from tests.tools.faults.rows import Row, all_rows
from tests.tools.faults.running import RunningBench

SHORT = {
    "web": ("F01", "F03", "F05", "F06"),
    "way out": ("F21", "F22", "F43", "F44"),
    "PostgreSQL": ("F08", "F10", "F16"),
    "Redis": ("F28", "F29", "F31"),
    "RabbitMQ": ("F35", "F37", "F48"),
}


async def kill_everything(bench: Bench) -> None:
    for name in ROLES:
        await bench.kill(name)
        await bench.hold()


KILLS = Row(
    "kills", "Every process is killed, one after another", kill_everything, publishes_fail=True
)


def rows_of(group: str) -> Sequence[Row]:
    return [all_rows()[name] for name in SHORT[group]]


def test_every_promise_holds_when_processes_and_servers_are_killed(bench: RunningBench) -> None:
    assert bench.run(KILLS).broken == []


@pytest.mark.parametrize("group", SHORT)
def test_every_promise_holds_after_the_faults_of(group: str, bench: RunningBench) -> None:
    assert bench.run(*rows_of(group)).broken == []
