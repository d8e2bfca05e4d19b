"""Starts and ends the stack's processes, and no others.

Each process runs in its own session, so Ctrl-C in the terminal reaches only the supervisor, which
stops the processes in order. If the supervisor dies first, the kernel sends each process its stop
signal. A process that survives even that is found by the stack's mark in its environment, never by
a name or a bare process id.
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
# Where cores are scarce, requests come first: relay, workers and RabbitMQ catch up later.
BACKGROUND_NICENESS = 19
AUTOGROUP_ATTEMPTS_MAX = 10
AUTOGROUP_RETRY_S = 0.05
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Account:
    """The unprivileged user that servers run as if the stack runs as root: PostgreSQL refuses to
    run as root, and the others should not.
    """

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """How to start a process. `env`: its whole environment; `port`: where it listens, if at all."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    port: int | None = None
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    niceness: int = 0  # takes effect with `set_niceness`


def server_account() -> Account | None:
    """The user that servers run as; None: the current user. Raises StackError."""
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
    """The arguments with which `subprocess` runs a program as `account`."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Starts the command in its own session and appends its output to `log`."""
    with log.open("ab") as output:
        prepare = partial(_prepare_child, command, os.getpid())
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # as_account()
            command.argv,
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - there is one thread here
            **as_account(command.account),
        )
    return process


def _prepare_child(command: Command, parent: int) -> None:
    # This runs after the change of user, which would clear the setting. The parent may have died
    # before it, without a signal: so the parent is compared afterwards.
    _libc.prctl(_PR_SET_PDEATHSIG, int(command.stop_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def set_niceness(process: subprocess.Popen[bytes], niceness: int) -> None:
    """Sets the niceness of the process and its group. Call it once they are ready: with a niceness
    of 19 from the beginning, RabbitMQ took 38 to 162 s to start on two cores with a load of 10 to
    15.
    """
    if niceness:
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PGRP, process.pid, niceness)
        _set_session_niceness(process.pid, niceness)


def _set_session_niceness(pid: int, niceness: int) -> None:
    """Lets processes of other sessions run first. Where the kernel groups processes by session
    (sched(7), autogroup), `os.nice` works within one session only; between sessions the niceness
    of the group decides.
    """
    for _ in range(AUTOGROUP_ATTEMPTS_MAX):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}")
            return
        except BlockingIOError:  # the kernel accepts ten a second, and more from root only
            time.sleep(AUTOGROUP_RETRY_S)
        except OSError:  # the kernel has no groups, or the process has ended
            return


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended. It stays unreaped, so the kernel gives its id, which names its
    group, to no other process.
    """
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes]) -> int:
    """Kills the rest of the process's group, reaps the process and returns its exit code
    (negative: the signal that ended it).
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def stop(
    processes: Mapping[str, tuple[subprocess.Popen[bytes], signal.Signals]], limit_s: float
) -> list[str]:
    """Ends all processes; returns the names of those that were killed because they still ran after
    `limit_s`.
    """
    for process, stop_signal in processes.values():
        if not has_ended(process):
            # Not `send_signal`: it would reap the process before its group is killed.
            os.kill(process.pid, stop_signal)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and not all(has_ended(p) for p, _ in processes.values()):
        time.sleep(POLL_S)
    killed = [name for name, (process, _) in processes.items() if not has_ended(process)]
    for process, _ in processes.values():
        end_group(process)
    return killed


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if none with this pid runs. The pid
    and this time together identify one process, even after the pid is reused.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def marked(instance: str) -> list[int]:
    """The pids of all other processes whose environment holds this stack's mark."""
    wanted = f"{MARK}={instance}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_leftovers(instance: str, grace_s: float = LEFTOVER_GRACE_S) -> int:
    """Ends every process of this stack; returns how many there were. Raises StackError if one is
    still running after twice `grace_s`; SIGKILL follows SIGTERM after `grace_s`.
    """
    ended = {(pid, start_time(pid)) for pid in marked(instance)}
    deadline = time.monotonic() + grace_s
    _send(marked(instance), signal.SIGTERM)
    while (alive := marked(instance)) and time.monotonic() < deadline + grace_s:
        if time.monotonic() > deadline:
            _send(alive, signal.SIGKILL)
        time.sleep(POLL_S)
    if alive:
        raise StackError(
            f"Cannot end processes {alive} of the last start: end them, then try again."
        )
    return len(ended)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
