"""The replay processes are forked from a fork server that has imported their modules. Stdlib only.

A fork of the command itself would share its connections. A new Python process imports for half a
second, which is a tenth of a rebuild of a million events. The fork server imports in parallel with
the command, has no connection and no thread, and ends with the command.
"""

import multiprocessing
from multiprocessing import forkserver

PROCESSES = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """The fork server is starting, so that replay processes start without delay."""
    PROCESSES.set_forkserver_preload(["projections.replay.build"])
    forkserver.ensure_running()
