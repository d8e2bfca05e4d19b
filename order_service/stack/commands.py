"""`ps`, `env`, `logs`, `reset`, `completion`, and the roles and commands of order_service.cli."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from order_service.stack.processes import end_leftovers, start_time
from order_service.stack.servers import LOOPBACK
from order_service.stack.settings import as_exports, command_settings, process_environment
from order_service.stack.state import DEFAULT_STATE, ROOT, StackError, State
from order_service.stack.venv import IN_CONTAINER

WEB_URL = "ORDER_SERVICE_URL"  # as in order_service.settings; a test compares the two
LOG_LINES = 40
FOLLOW_POLL_S = 0.25


def end_with(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Ends the process with the exit code that `main` returns for its arguments. A StackError is
    printed and gives 1; Ctrl-C gives 130.
    """
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def ps(state: State) -> int:
    """Prints `role pid port` for each process that runs; returns 1 if none does."""
    running = [p for p in state.read_processes() if start_time(p["pid"]) == p["started"]]
    for process in running:
        print(process["role"], process["pid"], process["port"] or "-")
    return 0 if running else 1


def env(state: State) -> int:
    print(as_exports(_settings(state)))
    return 0


def logs(state: State, role: str | None, *, follow: bool) -> int:
    """Prints the end of one role's log, or of all logs; `follow`: then new lines, until Ctrl-C."""
    state.read()
    files = sorted(state.logs.glob("*.log"))
    if role is not None:
        files = [file for file in files if file.stem == role]
        if not files:
            known = ", ".join(file.stem for file in sorted(state.logs.glob("*.log")))
            raise StackError(f"No log of {role} in {state.logs}: found {known or 'none'}.")
    ends = {file: _print_end(file, named=role is None) for file in files}
    try:
        while follow:
            ends = {file: _print_from(file, end, named=role is None) for file, end in ends.items()}
            time.sleep(FOLLOW_POLL_S)
    except KeyboardInterrupt:
        pass
    return 0


def reset(state: State) -> int:
    kept = state.read()
    with state.lock():
        end_leftovers(kept["instance"])
        state.wipe()
    print(f"removed {state.path}")
    return 0


def completion(shell: str) -> NoReturn:
    """Becomes `order_service.cli completion SHELL`; needs no stack and no settings."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "order_service.cli", "completion", shell])


def run_role(word: str, arguments: Sequence[str]) -> NoReturn:
    """Becomes `order_service.cli WORD ...`. The settings are those of the stack in `--state DIR`;
    without it, those of the environment in a container or if DB_HOST is set, else of the default
    stack.
    """
    folder, rest = take_state(arguments)
    environment = dict(os.environ)
    if folder is not None or not (os.environ.get(IN_CONTAINER) or os.environ.get("DB_HOST")):
        state = State(Path(folder or DEFAULT_STATE))
        environment = process_environment(command_settings(_settings(state), os.environ))
        environment |= _web_url(state)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "order_service.cli", word, *rest], environment)


def _web_url(state: State) -> dict[str, str]:
    """The setting that gives commands the address of the stack's web role, if it runs."""
    ports = [p["port"] for p in state.read_processes() if p["role"] == "web"]
    return {WEB_URL: f"http://{LOOPBACK}:{ports[0]}"} if ports else {}


def take_state(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The folder of `--state DIR`, if given, and the arguments without it."""
    rest, folder = list(arguments), None
    for index, word in enumerate(rest):
        if word == "--state":
            if index + 1 == len(rest):
                raise StackError("--state needs a folder: --state DIR")
            folder = rest[index + 1]
            del rest[index : index + 2]
            break
        if word.startswith("--state="):
            folder = rest.pop(index).partition("=")[2]
            break
    return folder, rest


def _settings(state: State) -> dict[str, str]:
    settings: dict[str, str] = state.read()["settings"]
    if not settings:
        raise StackError(
            f"The stack in {state.path} has never run: start it with `./entrypoint.sh up`."
        )
    return settings


def _print_end(file: Path, *, named: bool) -> int:
    """Returns the offset of what was not there yet, in bytes."""
    content = file.read_bytes()
    lines = content.decode(errors="replace").splitlines()[-LOG_LINES:]
    _print_lines(file, lines, named=named)
    return len(content)


def _print_from(file: Path, offset: int, *, named: bool) -> int:
    """Prints the whole lines after `offset` (bytes); returns the offset behind them."""
    with file.open("rb") as log:
        log.seek(offset)
        new = log.read()
    whole = new[: new.rfind(b"\n") + 1]  # the process is still writing the last line
    _print_lines(file, whole.decode(errors="replace").splitlines(), named=named)
    return offset + len(whole)


def _print_lines(file: Path, lines: Sequence[str], *, named: bool) -> None:
    for line in lines:
        print(f"{file.stem:<10} {line}" if named else line, flush=True)
