"""`up` with trivial roles: what it promises of processes, whatever they are.

The servers are given (by their addresses), so that none has to be started here;
test_stack_servers.py starts them.
"""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from order_service.stack.processes import marked, start_time
from order_service.stack.servers import PORTS, free_port
from order_service.stack.state import ROOT, State
from tests.support.waiting import WAIT_S, eventually

# Roles: `web` listens on the port; `worker` has a child that no signal but SIGKILL ends.
UP = """
import sys
from pathlib import Path
from order_service.stack.processes import MARK, Command
from order_service.stack.servers import listens
from order_service.stack.settings import process_environment
from order_service.stack.state import State, StackError
from order_service.stack.up import Roles, up

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
PARENT = "import subprocess as s, sys, time; s.Popen([sys.executable, '-c', %r]); time.sleep(600)"

def roles(state, port, settings):
    environment = {**process_environment(settings), MARK: state.read()["instance"]}
    def command(name, *argv, port=None, niceness=0):
        argv = (sys.executable, *argv)
        return Command(name, argv, environment, state.path, port, niceness=niceness)
    server = ("-m", "http.server", str(port), "--bind", "127.0.0.1")
    worker = command("worker", "-c", PARENT % DEAF, niceness=7)
    commands = (worker, command("web", *server, port=port))
    return Roles(command("migrate", "-c", ""), commands, lambda: listens(port))

try:
    sys.exit(up(State(Path(sys.argv[1])), int(sys.argv[2]), roles))
except StackError as error:
    sys.exit(str(error))
"""
GIVEN_SERVERS = dict.fromkeys(("DB_HOST", "REDIS_HOST", "RABBITMQ_HOST"), "given.invalid")

Starter = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(state: State, port: int) -> Iterator[Starter]:
    """Starts `up`; with `ready=True` returns once it says that it is ready."""
    started: list[subprocess.Popen[str]] = []

    def _start(*, ready: bool = True) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", UP, str(state.path), str(port)],
            cwd=ROOT,
            env={**os.environ, **GIVEN_SERVERS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        if ready:
            read_until(process, f"ready http://127.0.0.1:{port}")
        return process

    yield _start
    for process in started:
        process.terminate()
        process.communicate(timeout=WAIT_S)


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """The output up to the line that holds `wanted`; fails if that does not come in time."""
    assert process.stdout is not None
    said = ""
    limit = threading.Timer(WAIT_S, process.kill)  # which ends the output
    limit.start()
    try:
        for line in process.stdout:
            said += line
            if wanted in line:
                return said
    finally:
        limit.cancel()
    raise AssertionError(said)


def pid_of(state: State, role: str) -> int:
    return next(p["pid"] for p in state.read_processes() if p["role"] == role)


def can_have(port: int) -> bool:
    """As whoever looks for a free port asks for it."""
    with socket.socket() as asking:
        try:
            asking.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def entrypoint(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "entrypoint.sh", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_leaves_no_process(
    state: State, start: Starter, number: signal.Signals
) -> None:
    up = start()

    up.send_signal(number)
    up.communicate(timeout=WAIT_S)

    assert up.returncode == 0
    assert marked(state.read()["instance"]) == []
    assert state.read_processes() == []


def test_an_impatient_second_signal_does_not_break_the_stopping(
    state: State, start: Starter
) -> None:
    up = start()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        up.send_signal(number)
    output, _ = up.communicate(timeout=WAIT_S)

    assert (up.returncode, output.splitlines()[-1]) == (0, "stopped")
    assert marked(state.read()["instance"]) == []


def test_what_a_killed_supervisor_leaves_is_ended_by_the_next_start(
    state: State, start: Starter
) -> None:
    up = start()
    up.kill()
    up.wait()
    instance = state.read()["instance"]
    asyncio.run(
        eventually(lambda: len(marked(instance)) == 1)
    )  # the kernel told the roles; one child is deaf

    output = read_until(start(ready=False), "ready http")

    assert "ended 1 processes that the last start left behind" in output
    assert sorted(p["role"] for p in state.read_processes()) == ["up", "web", "worker"]


def test_a_crashed_role_is_said_and_started_again(state: State, start: Starter, port: int) -> None:
    up = start()
    old = pid_of(state, "web")

    os.kill(old, signal.SIGKILL)

    read_until(up, "web ended with signal 9: starting it again in 0.5 s")
    asyncio.run(eventually(lambda: pid_of(state, "web") != old))
    assert start_time(pid_of(state, "web")) is not None


def test_a_role_has_its_niceness_once_all_is_ready_and_after_a_restart(
    state: State, start: Starter
) -> None:
    start()
    instance = state.read()["instance"]
    web, worker = pid_of(state, "web"), pid_of(state, "worker")
    asyncio.run(eventually(lambda: niceness_of(worker) == 7))
    children = {niceness_of(pid) for pid in marked(instance) if pid != web}

    os.kill(worker, signal.SIGKILL)

    asyncio.run(eventually(lambda: pid_of(state, "worker") != worker))
    asyncio.run(eventually(lambda: niceness_of(pid_of(state, "worker")) == 7))
    assert children == {7}
    assert niceness_of(web) == 0


def niceness_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_a_crashed_role_takes_its_children_with_it(state: State, start: Starter) -> None:
    up = start()
    before = set(marked(state.read()["instance"]))

    os.kill(pid_of(state, "worker"), signal.SIGKILL)

    read_until(up, "worker ended with signal 9")
    asyncio.run(
        eventually(lambda: len(set(marked(state.read()["instance"])) & before) == 1)
    )  # only web


def test_a_second_up_on_the_same_state_is_refused(state: State, start: Starter) -> None:
    start()

    second = start(ready=False)
    output, _ = second.communicate(timeout=WAIT_S)

    assert second.returncode == 1
    assert "already running" in output


def test_a_taken_port_is_an_error_that_names_the_flag(
    start: Starter, port: int, state: State
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        refused = start(ready=False)
        output, _ = refused.communicate(timeout=WAIT_S)

    assert refused.returncode == 1
    assert f"Port {port} is taken" in output
    assert "--port" in output
    assert state.read_processes() == []


def test_the_ports_of_its_servers_are_held_while_up_runs(state: State, start: Starter) -> None:
    """Nobody listens there: the servers are given."""
    up = start()
    ports = list(state.read()["ports"].values())

    held = [port for port in ports if not can_have(port)]
    up.terminate()
    up.communicate(timeout=WAIT_S)

    assert held == ports
    assert len(held) == len(PORTS)
    assert all(can_have(port) for port in ports)


def test_reset_is_refused_while_up_runs_and_wipes_the_folder_after(
    state: State, start: Starter
) -> None:
    up = start()

    refused = entrypoint("reset", "--state", str(state.path))
    up.terminate()
    up.communicate(timeout=WAIT_S)
    wiped = entrypoint("reset", "--state", str(state.path))

    assert (refused.returncode, wiped.returncode) == (1, 0)
    assert not state.path.exists()
    assert state.path.parent.exists()


def test_ps_and_logs_speak_of_the_running_stack(state: State, start: Starter, port: int) -> None:
    up = start()

    ps = entrypoint("ps", "--state", str(state.path))
    logs = entrypoint("logs", "web", "--state", str(state.path))

    assert ps.returncode == logs.returncode == 0
    assert f"up {up.pid} -" in ps.stdout
    assert f"web {pid_of(state, 'web')} {port}" in ps.stdout


def test_env_prints_exports_and_the_settings_of_ups_environment_hold(
    state: State, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_LIMIT", "7/minute")
    start()

    exported = entrypoint("env", "--state", str(state.path), RATE_LIMIT="8/minute").stdout

    assert "export RATE_LIMIT=7/minute" in exported
    assert "export DB_HOST=given.invalid\n" in exported
    assert "export PGHOST=given.invalid\n" in exported


def test_secrets_are_readable_by_their_owner_only(state: State) -> None:
    state.create()
    before = json.loads((state.path / "stack.json").read_text())

    state.create()  # as the second `up` does

    assert stat.S_IMODE((state.path / "stack.json").stat().st_mode) == 0o600
    assert json.loads((state.path / "stack.json").read_text()) == before


def test_a_folder_that_is_not_ours_is_neither_used_nor_wiped(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")

    used = entrypoint("reset", "--state", str(tmp_path))

    assert used.returncode == 1
    assert (tmp_path / "letters").read_text() == "dear"
