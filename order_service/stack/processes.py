"""Processes that we start and end, and no others.

Each runs in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone,
which then stops them in order. Should the supervisor die first, the kernel sends each its stop
signal; what survives even that is found by the stack's own mark in its environment, never by a name
or a bare process id.
"""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from order_service.stack.state import StackError

MARK = "ORDER_SERVICE_INSTANCE"
POLL_S = 0.02
LEFTOVER_GRACE_S = 5.0
# Where cores are scarce, answers come first: the roles behind them and their broker catch up.
BACKGROUND_NICENESS = 19
AUTOGROUP_ATTEMPTS_MAX = 10
AUTOGROUP_RETRY_S = 0.05
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Account:
    """The unprivileged user that servers run as, where we are root: PostgreSQL and good sense
    refuse to run as that.
    """

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """A process to be: `env` is its whole environment, `port` what it listens on, if anything."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    port: int | None = None
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    niceness: int = 0  # from `give_way` on


def server_account() -> Account | None:
    """Whom the servers run as: None for ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "Found no user `postgres` or `nobody` to run the servers as: start as an ordinary user."
    )


def as_account(account: Account | None) -> dict[str, object]:
    """The arguments that make `subprocess` run a program as `account`."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Starts the command in a session of its own, its output appended to `log`."""
    with log.open("ab") as output:
        begin = partial(_begin, command, os.getpid())
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # as_account()
            command.argv,
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=begin,  # noqa: PLW1509 - there is one thread here
            **as_account(command.account),
        )
    return process


def _begin(command: Command, parent: int) -> None:
    # After the change of user (which would clear it), and looked at once more, since the parent may
    # be gone by now.
    _libc.prctl(_PR_SET_PDEATHSIG, int(command.stop_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def give_way(process: subprocess.Popen[bytes], niceness: int) -> None:
    """All processes of the command let others go first from now on. Not from their beginning: on a
    busy machine RabbitMQ would then start for minutes.
    """
    if niceness:
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PGRP, process.pid, niceness)
        _set_session_niceness(process.pid, niceness)


def _set_session_niceness(pid: int, niceness: int) -> None:
    """Where the kernel groups processes by session (sched(7), autogroup), `os.nice` counts among
    those of one session only: what lets other sessions go first is the niceness of the group.
    """
    for _ in range(AUTOGROUP_ATTEMPTS_MAX):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}")
            return
        except BlockingIOError:  # ten a second are taken, unless they come from root
            time.sleep(AUTOGROUP_RETRY_S)
        except OSError:  # such a kernel has no groups; or the process has ended
            return


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is left unreaped, so that its number still is its group's and nobody
    else's.
    """
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes]) -> int:
    """Kills what is left of its group, reaps it and returns its exit code (negative: the signal
    that ended it).
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def stop(
    processes: Mapping[str, tuple[subprocess.Popen[bytes], signal.Signals]], limit_s: float
) -> list[str]:
    """All of them have ended afterwards; returns the names of those that had to be killed after
    `limit_s`.
    """
    for process, stop_signal in processes.values():
        if not has_ended(
            process
        ):  # not `send_signal`, which would reap it before its group is seen to
            os.kill(process.pid, stop_signal)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and not all(has_ended(p) for p, _ in processes.values()):
        time.sleep(POLL_S)
    killed = [name for name, (process, _) in processes.items() if not has_ended(process)]
    for process, _ in processes.values():
        end_group(process)
    return killed


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if there is none. With the pid it
    names one process for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def marked(instance: str) -> list[int]:
    """The processes whose environment bears this stack's mark, except ourselves."""
    wanted = f"{MARK}={instance}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_leftovers(instance: str, grace_s: float = LEFTOVER_GRACE_S) -> int:
    """No process of this stack runs afterwards; returns how many had to be ended."""
    ended = {(pid, start_time(pid)) for pid in marked(instance)}
    deadline = time.monotonic() + grace_s
    _send(marked(instance), signal.SIGTERM)
    while (alive := marked(instance)) and time.monotonic() < deadline + grace_s:
        if time.monotonic() > deadline:
            _send(alive, signal.SIGKILL)
        time.sleep(POLL_S)
    if alive:
        raise StackError(
            f"Processes {alive} of the last start cannot be ended: end them, then try again."
        )
    return len(ended)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
