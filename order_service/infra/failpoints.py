"""Crash windows: named places where a test can kill, fail or delay a process.

Off, `reach` does nothing. It is on in a process that was started with FAILPOINTS, which names a
folder, and with FAILPOINTS_IN_TESTS=yes besides; with the first alone no process starts, since it
would stand in an environment that is not meant for tests. Neither is a field of `Settings`: no
operator has a use for them.

A test arms a window by a file of its name in the folder, which says `exit`, `raise` or
`sleep SECONDS`. The first process that comes there takes it, once, by a new name: so restarted
processes do not die again, and the test sees who was there (`relay-read.4711`).

The windows of the promises, by their numbers. 1 append-unsent; 6 append-committed; 7 relay-read;
8 relay-published; 9 relay-confirmed; 10 relay-moved; 11 consumer-received; 12 consumer-sent;
13 advance-begun; 14 advance-written; 15 advance-moved; 16 advance-committed; 17 advance-told;
18 query-missed; 19 query-read; 20 refresh-rotated; 22 replay-built.

The others lie inside PostgreSQL, where no process of ours can stop: their tests hold, fail or kill
the session by triggers and locks of their own, or lose its reply in a proxy. 2: there is no row for
an idempotency key, which stands in the events themselves; what `append` writes before the events is
the claim on an external reference. 3: between two events of a command. 4: at COMMIT, by a deferred
trigger. 5: the reply of `append`, which commits by itself, is lost. 21: a revision that waits for a
lock.
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
    """What a window armed with `raise` raises: an error that nobody expects."""


async def _nothing(_: Window) -> None:
    """The window is passed."""


def _reach_in(folder: Path) -> Callable[[Window], Awaitable[None]]:
    async def reach(window: Window) -> None:
        armed = folder / window
        try:
            order = armed.read_text().split()
            armed.rename(folder / f"{window}.{os.getpid()}")  # which only one process can do
        except FileNotFoundError:
            return
        await _carry_out(order, window)

    return reach


async def _carry_out(order: list[str], window: Window) -> None:
    match order:
        case ["exit"]:
            os.kill(os.getpid(), signal.SIGKILL)  # as from outside: nothing of ours runs any more
        case ["raise"]:
            raise FailpointReached(window)
        case ["sleep", seconds]:
            await asyncio.sleep(float(seconds))
        case _:
            raise ValueError(f"{window} is armed with {order}: expected exit, raise or sleep S")


def chosen(environment: Mapping[str, str]) -> Callable[[Window], Awaitable[None]]:
    """What `reach` is in this environment. Raises SystemExit where failpoints must not be."""
    folder = environment.get("FAILPOINTS")
    if folder is None:
        return _nothing
    if environment.get("FAILPOINTS_IN_TESTS") != "yes":
        raise SystemExit("FAILPOINTS makes processes fail on purpose, in tests only: unset it.")
    return _reach_in(Path(folder))


reach = chosen(os.environ)
