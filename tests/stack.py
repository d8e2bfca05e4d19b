"""The whole service as an operator runs it: `./entrypoint.sh up` with servers of its own."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
STOP_TIMEOUT_S = 30
# What the tests' own servers and this run's settings are called: `up` must not use them.
OURS = ("DB_", "REDIS_", "RABBITMQ_", "SECRET_KEY", "PG")


@dataclass(frozen=True)
class Stack:
    state: Path
    url: str
    environment: Mapping[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`./entrypoint.sh WORD ... --state DIR`, to its end."""
        return subprocess.run(
            ["./entrypoint.sh", *words, "--state", str(self.state)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def processes(self) -> dict[str, int]:
        """Role to process id."""
        lines = [line.split() for line in self.run("ps").stdout.splitlines()]
        return {role: int(pid) for role, pid, _ in lines}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=15)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="order-service-"))
    folder.chmod(0o755)
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    environment |= {"RATE_LIMIT": "1000000/minute"}
    stack = Stack(folder / "state", f"http://127.0.0.1:{port}", environment)
    supervisor = subprocess.Popen(
        ["./entrypoint.sh", "up", "--port", str(port), "--state", str(stack.state)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_until_ready(supervisor)
        yield stack
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.communicate(timeout=STOP_TIMEOUT_S)
        stack.run("reset")
        folder.rmdir()


def _wait_until_ready(supervisor: "subprocess.Popen[str]") -> None:
    assert supervisor.stdout is not None
    printed = []
    for line in supervisor.stdout:
        printed.append(line)
        if line.startswith("ready "):
            return
    raise AssertionError("`up` ended before it was ready:\n" + "".join(printed))
