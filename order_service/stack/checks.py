"""`test`: static checks and tests, on private servers. Starts `bench` and `faults`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from order_service.stack.processes import MARK
from order_service.stack.settings import ADDRESSES, SETTINGS, process_environment, stack_settings
from order_service.stack.state import ROOT, State
from order_service.stack.supervisor import Stopped, Supervisor, say, step
from order_service.stack.up import require_linux, start_servers, wait_for

STATIC_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)
# Each test makes and drops a database and mostly waits for the disk: so the servers' folders are in
# memory if it has room. Tests of durability start other servers.
IN_MEMORY = Path("/dev/shm")  # noqa: S108  # tempfile makes a private folder in it
IN_MEMORY_BYTES_MIN = 8 * 1024**3
# Tests wait for half of their time: so those that need the whole service run beside all the others,
# each half on servers of its own.
WITH_STACK = (
    "tests/browser",
    "tests/end_to_end",
    "tests/faults",
    "tests/integration/test_backups.py",
)
OTHERS = ("tests", *(f"--ignore={path}" for path in WITH_STACK))
STOPPED = 130  # a shell's exit code for a program that Ctrl-C ended


def test(arguments: Sequence[str]) -> int:
    """Runs static checks and all tests; with `arguments` only pytest. Returns pytest's exit code;
    if that is 0, 1 if a static check failed.
    """
    require_linux()
    return _pytest(arguments) if arguments else _everything()


def _everything() -> int:
    """As `test`. One half of the tests is shown as it goes, the other when both have ended."""
    with tempfile.TemporaryFile("w+") as output:
        words = [sys.executable, "-m", "order_service.stack", "test", *OTHERS]
        others = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        failed = [" ".join(check) for check in STATIC_CHECKS if not _passes(check)]
        code = _pytest(WITH_STACK)
        if code == STOPPED:
            others.terminate()
        others_code = others.wait()
        output.seek(0)
        say(output.read())
    if failed:
        say(f"failed before the tests: {', '.join(failed)}")
    return code or others_code or bool(failed)


def bench(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the benchmarks, which start and end a private stack."""
    _become("tests.tools.benchmarks", arguments)


def faults(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the fault bench, which starts and ends private stacks."""
    _become("tests.tools.faults", arguments)


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    require_linux()
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _passes(check: Sequence[str]) -> bool:
    with step(" ".join(check)):
        done = subprocess.run(
            [Path(sys.executable).with_name(check[0]), *check[1:]],
            cwd=ROOT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode:
        say(done.stdout)
    return done.returncode == 0


def _pytest(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="order-service-test-", dir=_servers_parent()) as folder:
        Path(folder).chmod(0o711)  # the servers' user goes through
        state = State(Path(folder) / "state")
        state.create()
        try:
            with Supervisor(state) as supervisor:
                wait_for(supervisor, start_servers(supervisor, state, frozenset(ADDRESSES)))
                pytest = [sys.executable, "-m", "pytest", *arguments]
                done = subprocess.run(pytest, cwd=ROOT, env=_environment(state), check=False)
                return done.returncode
        except Stopped:
            return STOPPED
        finally:
            state.wipe()


def _servers_parent() -> Path | None:
    """The folder for the servers' folders; None: the default for temporary files."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= IN_MEMORY_BYTES_MIN:
        return IN_MEMORY
    return None


def _environment(state: State) -> Mapping[str, str]:
    """The current environment with the private servers' addresses and no other setting: a test sets
    the others itself.
    """
    kept = state.read()
    others = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**process_environment(stack_settings(kept, others)), MARK: kept["instance"]}
