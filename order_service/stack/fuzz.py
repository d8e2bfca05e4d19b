"""`fuzz`: runs the tests with random input in rounds with fresh seeds, until one fails."""

import argparse
import itertools
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from order_service.stack.checks import STOPPED, private_servers
from order_service.stack.state import DEFAULT_STATE, KEPT_BY_FUZZ, ROOT
from order_service.stack.supervisor import Stopped, say
from order_service.stack.up import require_linux

FOLDER = ROOT / DEFAULT_STATE / KEPT_BY_FUZZ
MINUTES_DEFAULT = 10.0
MINUTES_MAX = 24 * 60.0
SEED_MAX = 2**32 - 1
TESTS = ("tests", "-m", "hypothesis or fuzz", "--exitfirst")


def fuzz(arguments: Sequence[str]) -> int:
    """Runs rounds until the minutes are over, at least one, and none only in part. Returns 0, or
    pytest's exit code of the round that failed.
    """
    given = parse(arguments)
    require_linux()
    ends_at = time.monotonic() + 60 * given.minutes
    try:
        with private_servers() as environment:
            for seed in seeds_from(given.seed):
                if code := _round(seed, environment):
                    return code
                if time.monotonic() >= ends_at:
                    break
    except Stopped:
        return STOPPED
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`minutes`: above 0. `seed`: of the first round; random if none is given."""
    parser = argparse.ArgumentParser(prog="./entrypoint.sh fuzz", allow_abbrev=False)
    parser.add_argument("--minutes", type=_minutes, default=MINUTES_DEFAULT, metavar="N")
    parser.add_argument("--seed", type=_seed, default=None, metavar="N")
    given = parser.parse_args(arguments)
    if given.seed is None:
        given.seed = secrets.randbelow(SEED_MAX + 1)
    return given


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"expected more than 0, at most {MINUTES_MAX:g}")
    return minutes


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed <= SEED_MAX:
        raise argparse.ArgumentTypeError(f"expected 0 to {SEED_MAX}")
    return seed


def seeds_from(first: int) -> Iterator[int]:
    """An endless sequence of seeds, one a round: `first`, then the numbers after it."""
    return ((first + number) % (SEED_MAX + 1) for number in itertools.count())


def _round(seed: int, environment: Mapping[str, str]) -> int:
    """Runs a round and returns pytest's exit code. Keeps the output of a failed round."""
    say(f"fuzz: round with seed {seed}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    output = FOLDER / f"failed-{seed}.txt"
    options = ("--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}")
    failed = ""
    with (
        output.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *TESTS, *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pytest,
    ):
        assert pytest.stdout is not None
        for line in pytest.stdout:
            file.write(line)
            sys.stdout.write(line)
            sys.stdout.flush()
            failed = failed_test(line) or failed
    if pytest.returncode:
        say(how_to_repeat(seed, failed))
    else:
        output.unlink()
    return pytest.returncode


def failed_test(line: str) -> str:
    """The failed test in this line of pytest's summary; empty if there is none."""
    word, _, rest = line.partition(" ")
    return rest.partition(" - ")[0].strip() if word in ("FAILED", "ERROR") else ""


def how_to_repeat(seed: int, failed: str) -> str:
    lines = [
        f"fuzz: failed with seed {seed}: {failed or 'see the output'}",
        f"  its output       {(FOLDER / f'failed-{seed}.txt').relative_to(ROOT)}",
        f"  repeat the round ./entrypoint.sh fuzz --seed {seed} --minutes 1",
    ]
    if failed:
        options = f"--hypothesis-profile=fuzz --hypothesis-seed={seed}"
        lines.append(f"  repeat the test  ./entrypoint.sh test {options} '{failed}'")
    return "\n".join(lines)
