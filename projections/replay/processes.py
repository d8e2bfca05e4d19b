"""The processes of a rebuild: forked from one that has all they need imported. Stdlib only.

A fork of the command itself would share its connections; a new Python imports for half a second,
which is a tenth of a rebuild of a million events. That one process begins to import when the
command does, beside it, holds no connection and no thread, and ends with the command.
"""

import multiprocessing
from multiprocessing import forkserver

PROCESSES = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """They will start at once."""
    PROCESSES.set_forkserver_preload(["projections.replay.build"])
    forkserver.ensure_running()
