"""`test`: static checks and tests, on private servers. Starts `bench`, `faults` and `clients`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
# Tests mostly wait: so they run in groups at once, each on separate servers. The last group is
# whatever the others leave; by duration the groups are alike.
ROOMS = "tests/integration"
BACKUPS = f"{ROOMS}/stack/test_backups.py"
WITH_STACK = ("tests/end_to_end", "tests/faults", BACKUPS)
WITH_PROCESSES = (
    *(f"{ROOMS}/{room}" for room in ("loop", "monitoring", "queries", "relay", "replay")),
    *(f"{ROOMS}/{room}" for room in ("stack", "streams", "worker")),
)
WITH_CLIENTS = ("tests/browser", "tests/contract", f"{ROOMS}/web", "tests/unit")
BESIDE = (
    (*WITH_PROCESSES, f"--ignore={BACKUPS}"),
    WITH_CLIENTS,
    ("tests", *(f"--ignore={path}" for path in (*WITH_STACK, *WITH_PROCESSES, *WITH_CLIENTS))),
)
# Where `clients` has its generators, once it has fetched them.
CLIENT_TOOLS = ROOT / ".venv" / "clients" / "installed.json"
STOPPED = 130  # a shell's exit code for a program that Ctrl-C ended


def test(arguments: Sequence[str]) -> int:
    """Runs static checks and all tests; with `arguments` only pytest. Returns pytest's exit code;
    if that is 0, 1 if a static check failed.
    """
    require_linux()
    return _pytest(arguments) if arguments else _everything()


def _everything() -> int:
    """Implements `test`. Prints one group's output at once, the others' when all have ended."""
    with ExitStack() as files:
        words = [sys.executable, "-m", "order_service.stack"]
        commands = [[*words, "test", *group] for group in BESIDE]
        if CLIENT_TOOLS.exists():
            commands.append([*words, "clients"])
        outputs = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in commands]
        beside = [
            subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            for command, output in zip(commands, outputs, strict=True)
        ]
        failed = [" ".join(check) for check in STATIC_CHECKS if not _passes(check)]
        code = _pytest(WITH_STACK)
        if code == STOPPED:
            for group in beside:
                group.terminate()
        codes = [group.wait() for group in beside]
        for output in outputs:
            output.seek(0)
            say(output.read())
    if not CLIENT_TOOLS.exists():
        say("generated clients: not tried: `./entrypoint.sh clients` has fetched no generators")
    if failed:
        say(f"failed before the tests: {', '.join(failed)}")
    return next(filter(None, (code, *codes)), bool(failed))


def bench(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the benchmarks, which start and end a private stack."""
    _become("tests.tools.benchmarks", arguments)


def clients(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by the trial of generated clients, which starts and ends a private
    stack."""
    _become("tests.tools.clients", arguments)


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
    try:
        with private_servers() as environment:
            pytest = [sys.executable, "-m", "pytest", *arguments]
            return subprocess.run(pytest, cwd=ROOT, env=environment, check=False).returncode
    except Stopped:
        return STOPPED


@contextmanager
def private_servers() -> Iterator[Mapping[str, str]]:
    """Inside the block PostgreSQL, Redis and RabbitMQ run. Yields an environment with their
    addresses. Raises Stopped at a stop signal.
    """
    with tempfile.TemporaryDirectory(prefix="order-service-test-", dir=_servers_parent()) as folder:
        Path(folder).chmod(0o711)  # the servers' user enters it
        state = State(Path(folder) / "state")
        state.create()
        try:
            with Supervisor(state) as supervisor:
                wait_for(supervisor, start_servers(supervisor, state, frozenset(ADDRESSES)))
                yield _environment(state)
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
