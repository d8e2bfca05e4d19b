"""Starts roles as separate processes, forked from a process that has imported the whole service: so
killing and starting one takes a tenth of a second instead of two.
"""

import multiprocessing
import os
import resource
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess

import alembic.config
import psutil
import uvicorn

from order_service import cli
from order_service.infra import failpoints

STOP_S = 60
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "order_service.main",
        "order_service.relay.relay",
        "projections.worker.consumer",
        "projections.replay.replay",
        "tests.tools.faults.forked",
    ]
)


def start(
    *words: str,
    environment: Mapping[str, str],
    listener: socket.socket | None = None,
    files_max: int | None = None,
) -> BaseProcess:
    """Starts `./entrypoint.sh WORD ...` in this environment. The web role serves `listener`, which
    outlives it: a client that connects while no web process runs waits for the next one.
    `files_max`: the process's limit of open files.
    """
    arguments = (words, dict(environment), listener, files_max)
    process = _FORKS.Process(target=_run, args=arguments)
    process.start()
    return process


def end(*pids: int) -> None:
    """Kills these processes and their descendants."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            family = [first := psutil.Process(pid), *first.children(recursive=True)]
            for process in family:  # the parent first, since it would replace the others
                process.kill()


def _run(
    words: tuple[str, ...],
    environment: dict[str, str],
    listener: socket.socket | None,
    files_max: int | None,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    failpoints.reach = failpoints.make_reach(environment)
    if files_max is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    match words:
        case ["web"]:
            assert listener is not None
            _serve(listener)
        case ["migrate"]:
            alembic.config.main(["upgrade", "head"])
        case _:
            sys.exit(cli.main(words))


def _serve(listener: socket.socket) -> None:
    config = uvicorn.Config(
        "order_service.main:create_app",
        factory=True,
        loop="order_service.web.event_loop:Loop",
        http="order_service.web.connection:Connection",
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
