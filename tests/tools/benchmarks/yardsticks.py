"""The processes of the yardsticks, served like the web role, on separate ports."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from order_service.cli import UVICORN_OPTIONS
from order_service.stack.processes import Command, spawn, stop
from order_service.stack.servers import LOOPBACK, free_port, listens
from tests.support.servers.stack import ROOT
from tests.tools.benchmarks import documents

NAMES = ("bare", "thin")
START_LIMIT_S = 30.0
START_POLL_S = 0.05
STOP_LIMIT_S = 15.0


@dataclass(frozen=True)
class Yardstick:
    name: str
    url: str
    pid: int


@contextmanager
def running(settings: Mapping[str, str], folder: Path) -> Iterator[list[Yardstick]]:
    """Inside the block the yardsticks run and answer with the documents in `folder`."""
    started: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    try:
        for name in NAMES:
            started[name] = _start(name, settings, folder)
        for name, (process, port) in started.items():
            _wait_until_it_listens(name, process, port, folder)
        yield [
            Yardstick(name, f"http://{LOOPBACK}:{port}", process.pid)
            for name, (process, port) in started.items()
        ]
    finally:
        terminate = Command.stop_signal
        stop({name: (process, terminate) for name, (process, _) in started.items()}, STOP_LIMIT_S)


def _start(
    name: str, settings: Mapping[str, str], folder: Path
) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    argv = (
        *(
            sys.executable,
            "-m",
            "uvicorn",
            f"tests.tools.benchmarks.{name}:create_app",
            "--factory",
        ),
        *("--host", LOOPBACK, "--port", str(port), "--workers", "1", *UVICORN_OPTIONS),
        *("--loop", "uvloop", "--http", "httptools"),
    )
    environment = {**os.environ, **settings, documents.VARIABLE: str(folder)}
    return spawn(Command(name, argv, environment, ROOT, port), _log(folder, name)), port


def _wait_until_it_listens(
    name: str, process: "subprocess.Popen[bytes]", port: int, folder: Path
) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Cannot start {name}:\n{_log(folder, name).read_text()}")
        time.sleep(START_POLL_S)


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"
