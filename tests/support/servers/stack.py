"""The whole service as an operator runs it: `./entrypoint.sh up` with servers of its own."""

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
# What the tests' own servers and this run's settings are called: `up` must not use them.
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
        """`./entrypoint.sh WORD ... --state DIR`, to its end."""
        return subprocess.run(
            ["./entrypoint.sh", *words, "--state", str(self.state)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def processes(self) -> dict[str, int]:
        """Role to process id."""
        lines = [line.split() for line in self.run("ps").stdout.splitlines()]
        return {role: int(pid) for role, pid, _ in lines}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT_S)

    def logs(self) -> dict[str, str]:
        """Role or server to all the whole lines that it has written."""
        files = (self.state / "logs").glob("*.log")
        return {file.stem: _whole_lines(file.read_text(errors="replace")) for file in files}

    def leaks(self, *secrets: str) -> list[str]:
        """Lines of the logs with something in clear that has no business there: one of these
        `secrets` or the stack's own, a token, or the passwords and addresses that tests use."""
        own = State(self.state).read()["secrets"].values()
        fixed = "|".join(map(re.escape, (*own, *secrets, PASSWORD)))
        secret = re.compile(rf"{fixed}|eyJ[\w-]+\.eyJ|[\w.+-]+@example\.com")
        return [
            f"{name}: {line}"
            for name, said in self.logs().items()
            for line in said.splitlines()
            if secret.search(line)
        ]

    @contextmanager
    def up(self, *argv: str) -> Iterator[None]:
        """Inside the block everything runs and is ready; afterwards nothing of it runs. `argv`:
        a program that does it in another way than `./entrypoint.sh up`."""
        ours = ("./entrypoint.sh", "up", "--port", str(self.port), "--state", str(self.state))
        with subprocess.Popen(
            argv or ours,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as supervisor:
            assert supervisor.stdout is not None
            try:
                _wait_until_ready(supervisor.stdout)
                # What it says of crashes must not fill the pipe: it would wait for ever.
                threading.Thread(target=supervisor.stdout.read, daemon=True).start()
                yield
            finally:
                supervisor.send_signal(signal.SIGTERM)
                supervisor.wait(timeout=STOP_TIMEOUT_S)


def _whole_lines(text: str) -> str:
    """Without the last one, if it is still being written."""
    return text[: text.rfind("\n") + 1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def database_arguments(settings: Mapping[str, str]) -> dict[str, Any]:
    """For asyncpg: as DB_USER, who may do everything."""
    return {
        "host": settings["DB_HOST"],
        "port": int(settings["DB_PORT"]),
        "user": settings["DB_USER"],
        "password": settings["DB_PASSWORD"],
        "database": settings["DB_NAME"],
    }


@contextmanager
def new_stack(**settings: str) -> Iterator[Stack]:
    """A stack that has not been up yet; its data is gone at the end."""
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
