"""The whole service as an operator runs it: `./entrypoint.sh up` with private servers."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from order_service.stack.servers import free_port
from order_service.stack.state import State
from tests.support.http.accounts import PASSWORD
from tests.support.waiting import WAIT_S

ROOT = Path(__file__).parents[3]
STOP_TIMEOUT_S = 60
# Prefixes of this run's settings and of its servers' addresses: `up` must not use them.
OURS = ("DB_", "REDIS_", "RABBITMQ_", "SECRET_KEY", "PG")


@dataclass(frozen=True)
class Stack:
    state: Path
    port: int
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Runs `./entrypoint.sh WORD ... --state DIR` to its end."""
        return subprocess.run(
            ["./entrypoint.sh", *words, "--state", str(self.state)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def processes(self) -> dict[str, int]:
        """Process ids by role."""
        lines = [line.split() for line in self.run("ps").stdout.splitlines()]
        return {role: int(pid) for role, pid, _ in lines}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT_S)

    def logs(self) -> dict[str, str]:
        """By role or server: all complete lines of its log."""
        files = (self.state / "logs").glob("*.log")
        return {file.stem: _whole_lines(file.read_text(errors="replace")) for file in files}

    def leaks(self, *secrets: str) -> list[str]:
        """Lines of the logs that show what no log may hold: one of `secrets`, one of the stack's
        secrets, a token, or the passwords and e-mail addresses that tests use.
        """
        own = State(self.state).read()["secrets"].values()
        fixed = "|".join(map(re.escape, (*own, *secrets, PASSWORD)))
        secret = re.compile(rf"{fixed}|eyJ[\w-]+\.eyJ|[\w.+-]+@example\.com")
        return [
            f"{name}: {line}"
            for name, log in self.logs().items()
            for line in log.splitlines()
            if secret.search(line)
        ]

    @contextmanager
    def up(self, *argv: str) -> Iterator[None]:
        """Inside the block the whole stack runs and is ready; afterwards none of it runs. `argv`: a
        program to start instead of `./entrypoint.sh up`.
        """
        standard = ("./entrypoint.sh", "up", "--port", str(self.port), "--state", str(self.state))
        with subprocess.Popen(
            argv or standard,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as supervisor:
            assert supervisor.stdout is not None
            try:
                _wait_until_ready(supervisor.stdout)
                # Its lines about crashes must not fill the pipe: it would block forever.
                threading.Thread(target=supervisor.stdout.read, daemon=True).start()
                yield
            finally:
                supervisor.send_signal(signal.SIGTERM)
                supervisor.wait(timeout=STOP_TIMEOUT_S)


def _whole_lines(text: str) -> str:
    """The text without the last line, if the process is still writing that."""
    return text[: text.rfind("\n") + 1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def database_arguments(settings: Mapping[str, str]) -> dict[str, Any]:
    """For asyncpg: a session as DB_USER, the owner of the database."""
    return {
        "host": settings["DB_HOST"],
        "port": int(settings["DB_PORT"]),
        "user": settings["DB_USER"],
        "password": settings["DB_PASSWORD"],
        "database": settings["DB_NAME"],
    }


@contextmanager
def new_stack(**settings: str) -> Iterator[Stack]:
    """A stack that has not run yet; its data is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="order-service-"))
    folder.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    stack = Stack(folder / "state", free_port(), environment | settings)
    try:
        yield stack
    finally:
        stack.run("reset")
        folder.rmdir()


def _wait_until_ready(output: IO[str]) -> None:
    printed = []
    for line in output:
        printed.append(line)
        if line.startswith("ready "):
            return
    raise AssertionError("`up` ended before it was ready:\n" + "".join(printed))
