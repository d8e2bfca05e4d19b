"""The supervisor of a stack: starts the servers and roles, keeps them running, stops them in order.

One thread runs one loop, which sleeps until a process ends, a back-off is over or a stop signal
arrives.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from order_service.stack.processes import (
    Command,
    end_group,
    end_leftovers,
    has_ended,
    set_niceness,
    spawn,
    start_time,
    stop,
)
from order_service.stack.servers import Server, hold
from order_service.stack.state import StackError, State

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_LIMIT_S = 120.0
READY_POLL_S = 0.1
CRASHES_AT_START_MAX = 3
RESTART_AFTER_S = (0.5, 1.0, 2.0, 5.0)  # the last one repeats
STEADY_AFTER_S = 20.0  # after a run of this length the back-off starts again
# The order, and the seconds until a group is killed: 15 in all.
STOP_ORDER: tuple[tuple[tuple[str, ...], float], ...] = (
    (("web",), 4.0),
    (("consumer", "worker", "relay", "flower"), 4.0),
    (("rabbitmq",), 3.5),
    (("epmd", "redis"), 0.5),
    (("postgres",), 2.5),
)


class Stopped(Exception):  # not an error
    """The process received a stop signal."""


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Prints a line with the seconds that the block took, once it is done."""
    began = time.monotonic()
    yield
    say(f"{name:<44} {time.monotonic() - began:6.1f} s")


@dataclass
class Running:
    """A command and its current process. `restart_at`: when to start it again, if it has ended."""

    command: Command
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)
    crashes: int = 0
    restart_at: float | None = None


class Supervisor:
    """The processes of one stack. A context manager: at its exit all processes are stopped, in
    order.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._running: dict[str, Running] = {}
        self._held = contextlib.ExitStack()
        self._applies_niceness = False
        self._wakeup, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> "Supervisor":
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        # With a handler, the end of a process wakes the loop.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOP_SIGNALS:
            signal.signal(number, _raise_stopped)
        return self

    def __exit__(self, *_: object) -> None:
        _ignore_stop_signals()
        self.stop()
        self._held.close()

    def hold(self, ports: Collection[int]) -> None:
        """Reserves the ports for this supervisor's servers, even between a crash and a restart."""
        for port in ports:
            self._held.enter_context(hold(port))

    def start(self, command: Command) -> None:
        process = spawn(command, self.state.logs / f"{command.name}.log")
        if self._applies_niceness:
            set_niceness(process, command.niceness)
        running = self._running.get(command.name)
        if running is None:
            self._running[command.name] = Running(command, process)
        else:
            running.process, running.restart_at = process, None
            running.started_at = time.monotonic()
        self._record()

    def start_servers(self, servers: Sequence[Server]) -> None:
        for server in servers:
            self.start(server.command)

    def apply_niceness(self) -> None:
        """Gives each process the niceness of its command from now on, after a restart as well."""
        self._applies_niceness = True
        for running in self._running.values():
            set_niceness(running.process, running.command.niceness)

    def wait_ready(self, name: str, ready: Callable[[], bool]) -> None:
        """Returns once `ready()` is true and all processes run. Raises StackError, with the log's
        end, after START_LIMIT_S or repeated crashes.
        """
        deadline = time.monotonic() + START_LIMIT_S
        with step(name):
            while not (ready() and self._all_run()):
                self._restart_ended(READY_POLL_S)
                self._raise_on_crashes()
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{name}: not ready after {START_LIMIT_S:.0f} s. {self._logs_end(name)}"
                    )

    def run_to_end(self, command: Command) -> None:
        """Runs the command to its end. Raises StackError, with the log's end, if it fails."""
        with step(command.name):
            self.start(command)
            while not has_ended(self._running[command.name].process):
                self._sleep(READY_POLL_S)
            code = end_group(self._running.pop(command.name).process)
        if code:
            raise StackError(f"{command.name} failed. {self._logs_end(command.name)}")

    def keep_running(self) -> None:
        """Restarts processes that crash, until a stop signal raises Stopped."""
        while True:
            restarts = [r.restart_at for r in self._running.values() if r.restart_at is not None]
            self._restart_ended(max(0.0, min(restarts) - time.monotonic()) if restarts else None)

    def stop(self) -> None:
        """Ends every process of this stack, in order."""
        names = set(self._running)
        listed = {name for group, _ in STOP_ORDER for name in group}
        for group, limit_s in ((tuple(names - listed), 4.0), *STOP_ORDER):
            stopping = {name: self._running.pop(name) for name in group if name in self._running}
            killed = stop(
                {n: (r.process, r.command.stop_signal) for n, r in stopping.items()}, limit_s
            )
            for name in killed:
                say(f"{name} did not stop within {limit_s} s: killed")
        end_leftovers(self.state.read()["instance"], grace_s=0.5)
        self.state.write_processes([])

    def _restart_ended(self, wait_s: float | None) -> None:
        """Waits until a process ends, at most `wait_s`; then notes the processes that have ended
        and starts those whose back-off is over.
        """
        self._sleep(wait_s)
        now = time.monotonic()
        for name, running in self._running.items():
            if running.restart_at is None and has_ended(running.process):
                self._note_crash(name, running, now)
            elif running.restart_at is not None and now >= running.restart_at:
                self.start(running.command)

    def _note_crash(self, name: str, running: Running, now: float) -> None:
        code = end_group(running.process)  # its children may hold its port
        running.crashes = 1 if now - running.started_at > STEADY_AFTER_S else running.crashes + 1
        delay_s = RESTART_AFTER_S[min(running.crashes, len(RESTART_AFTER_S)) - 1]
        running.restart_at = now + delay_s
        ended = f"signal {-code}" if code < 0 else f"code {code}"
        log = self.state.logs / f"{name}.log"
        say(f"{name} ended with {ended}: starting it again in {delay_s} s (log: {log})")

    def _raise_on_crashes(self) -> None:
        for name, running in self._running.items():
            if running.crashes >= CRASHES_AT_START_MAX:
                raise StackError(
                    f"{name} ended {running.crashes} times while starting. {self._logs_end(name)}"
                )

    def _all_run(self) -> bool:
        return all(
            r.restart_at is None and not has_ended(r.process) for r in self._running.values()
        )

    def _sleep(self, wait_s: float | None) -> None:
        select.select([self._wakeup], [], [], wait_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)

    def _record(self) -> None:
        lines: list[tuple[str, int, int | None]] = [("up", os.getpid(), None)]
        lines += [(name, r.process.pid, r.command.port) for name, r in self._running.items()]
        self.state.write_processes(
            [
                {"role": role, "pid": pid, "started": start_time(pid), "port": port}
                for role, pid, port in lines
            ]
        )

    def _logs_end(self, name: str) -> str:
        log = self.state.logs / f"{name}.log"
        if not log.exists():
            return f"See the logs in {self.state.logs}."
        last = log.read_text(errors="replace").splitlines()[-15:]
        return f"The end of {log}:\n" + "\n".join(last)


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    _ignore_stop_signals()  # a second signal must not interrupt the stop
    raise Stopped


def _ignore_stop_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
