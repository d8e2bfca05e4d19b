"""Progress of a long step: one line every few seconds while it runs, and one at its end."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

INTERVAL_S = 5.0


@contextlib.contextmanager
def show_progress(
    step: str, folder: Path, report: Callable[[str], None], interval_s: float = INTERVAL_S
) -> Iterator[None]:
    """While the block runs, `report` gets a line every `interval_s`, and one at the end if the
    block succeeds. A line has the seconds so far and the megabytes in `folder`.
    """
    began = time.monotonic()
    done = threading.Event()

    def say(text: str) -> None:
        seconds, megabytes = time.monotonic() - began, size_bytes(folder) / 1e6
        report(f"{text:<44} {seconds:6.1f} s  {megabytes:6.1f} MB on disk")

    def watch() -> None:
        while not done.wait(interval_s):
            say(f"  {step} ...")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    say(step)


def size_bytes(folder: Path) -> int:
    """The sum of the sizes of the files in `folder`. Other processes may change it meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed after it was listed
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
