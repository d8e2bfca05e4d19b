"""Crash windows: named points in the code where a test can kill, fail or delay a process.

By default `reach` does nothing. It is active in a process that starts with FAILPOINTS, the path of
a folder, and FAILPOINTS_IN_TESTS=yes. With FAILPOINTS alone a process refuses to start, since the
environment may not be a test's. Neither is a field of `Settings`: operators never need them.

A test arms a window with a file of the window's name in that folder; the file contains `exit`,
`raise` or `sleep SECONDS`. The first process to reach the window renames the file, so the action
runs once: restarted processes do not die again, and the new name has the process's id
(`relay-read.4711`).

The crash windows of the promises, by number: 1 append-unsent; 6 append-committed; 7 relay-read;
8 relay-published; 9 relay-confirmed; 10 relay-moved; 11 consumer-received; 12 consumer-sent;
13 advance-begun; 14 advance-written; 15 advance-moved; 16 advance-committed; 17 advance-told;
18 query-missed; 19 query-read; 20 refresh-rotated; 22 replay-built.

The other windows are inside PostgreSQL, where our code cannot stop: their tests block, fail or kill
the session with triggers and locks, or drop its reply in a proxy. 2: before the events `append`
writes the claim on an external reference (an idempotency key has no row: the events contain it).
3: between two events of a command. 4: at COMMIT, by a deferred trigger. 5: the reply of `append`,
which commits by itself, is lost. 21: a migration waits for a lock.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

Window = Literal[
    "append-unsent",
    "append-committed",
    "relay-read",
    "relay-published",
    "relay-confirmed",
    "relay-moved",
    "consumer-received",
    "consumer-sent",
    "advance-begun",
    "advance-written",
    "advance-moved",
    "advance-committed",
    "advance-told",
    "query-missed",
    "query-read",
    "refresh-rotated",
    "replay-built",
]


class FailpointReached(Exception):
    """Raised at a window armed with `raise`: an error that no caller expects."""


async def _do_nothing(_: Window) -> None:
    """Passes the window."""


def _reach_in(folder: Path) -> Callable[[Window], Awaitable[None]]:
    async def reach(window: Window) -> None:
        armed = folder / window
        try:
            action = armed.read_text().split()
            armed.rename(folder / f"{window}.{os.getpid()}")  # only one process can
        except FileNotFoundError:
            return
        await _execute(action, window)

    return reach


async def _execute(action: list[str], window: Window) -> None:
    match action:
        case ["exit"]:
            os.kill(os.getpid(), signal.SIGKILL)  # no handler of this process runs
        case ["raise"]:
            raise FailpointReached(window)
        case ["sleep", seconds]:
            await asyncio.sleep(float(seconds))
        case _:
            raise ValueError(f"{window} is armed with {action}: expected exit, raise or sleep S")


def make_reach(environment: Mapping[str, str]) -> Callable[[Window], Awaitable[None]]:
    """The function `reach` for this environment. Raises SystemExit if FAILPOINTS is set outside
    tests."""
    folder = environment.get("FAILPOINTS")
    if folder is None:
        return _do_nothing
    if environment.get("FAILPOINTS_IN_TESTS") != "yes":
        raise SystemExit(
            "FAILPOINTS makes processes fail on purpose. It is for tests only: unset it."
        )
    return _reach_in(Path(folder))


reach = make_reach(os.environ)
