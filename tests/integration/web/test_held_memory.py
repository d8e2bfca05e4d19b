"""Whatever part of a request never ends, a web process holds next to nothing of it: measured from
outside, at a process of its own."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from order_service.settings import Settings
from tests.conftest import own_database
from tests.tools.benchmarks.processes import parse_peak
from tests.tools.faults import forked

SENT_BYTES = 60_000_000
PIECE_BYTES = 64 * 1024
STALLED_S = 2.0  # a process that takes nothing for so long holds nothing more
ANSWER_S = 15.0
GROWTH_MB_MAX = 16
TOGETHER = 4  # connections of each kind at once
GROWTH_TOGETHER_MB_MAX = 64

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
NOWHERE = b"POST /nowhere HTTP/1.1\r\nHost: x\r\n"
PUT = b"PUT /register/ HTTP/1.1\r\nHost: x\r\n"
REGISTER = b"POST /register/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ORDER = REGISTER.replace(b"/register/", b"/orders/")
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + b"2\r\n{}\r\n0\r\n"  # but for its trailer
LONG = b"Content-Length: 99999999\r\n\r\n"
TRAILER = b"a:\r\n"
EXTENDED = b"1;" + b"a" * 1_000 + b"\r\n \r\n"
ONE_BYTE = b"1\r\n \r\n"
SPACES = b" " * 50_000
LARGE = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"


@dataclass(frozen=True)
class Flood:
    """`repeated` follows `begins`, over and over. `status`: of the first answer."""

    name: str
    status: int
    begins: bytes
    repeated: bytes

    def send(self, connection: socket.socket) -> None:
        """Until it has all been sent, or the other side takes no more."""
        piece = self.repeated * max(1, PIECE_BYTES // len(self.repeated))
        connection.settimeout(STALLED_S)
        with suppress(OSError):
            for _ in range(SENT_BYTES // len(piece)):
                connection.sendall(piece)
        connection.settimeout(ANSWER_S)


UNANSWERED = (
    Flood("trailer fields", 431, REGISTER + WHOLE, TRAILER),
    Flood("a trailer field", 431, REGISTER + WHOLE + b"a: ", b"a"),
    Flood("the name of a trailer field", 431, REGISTER + WHOLE, b"a"),
    Flood("a chunk's extension", 431, REGISTER + CHUNKED + b"2;", b"a"),
    Flood("extended chunks", 413, REGISTER + CHUNKED, EXTENDED),
    Flood("chunks of one byte", 413, REGISTER + CHUNKED, ONE_BYTE),
    Flood("large chunks", 413, REGISTER + CHUNKED, LARGE),
    Flood("a header", 431, GET + b"X: ", b"x"),
    Flood("the name of a header", 431, GET, b"x"),
    Flood("headers", 431, GET, b"a:\r\n"),
    Flood("a target", 431, b"GET /", b"x"),
    Flood("a body that is too large", 413, REGISTER + LONG, b"x"),
    Flood("requests", 200, b"", GET + b"\r\n"),
    Flood("requests with many headers", 200, b"", GET + b"a:\r\n" * 90 + b"\r\n"),
    Flood("requests with bodies", 401, b"", ORDER + b"Content-Length: 50000\r\n\r\n" + SPACES),
)
ANSWERED = (
    Flood("trailer fields", 401, ORDER + WHOLE, TRAILER),
    Flood("a trailer field", 401, ORDER + WHOLE + b"a: ", b"a"),
    Flood("a chunk's extension", 401, ORDER + CHUNKED + b"2;", b"a"),
    Flood("extended chunks", 401, ORDER + CHUNKED, EXTENDED),
    Flood("chunks of one byte", 401, ORDER + CHUNKED, ONE_BYTE),
    Flood("large chunks", 401, ORDER + CHUNKED, LARGE),
    Flood("chunks to no route", 404, NOWHERE + CHUNKED, ONE_BYTE),
    Flood("chunks by another method", 405, PUT + CHUNKED, ONE_BYTE),
)


def named(flood: Flood) -> str:
    return flood.name


@dataclass(frozen=True)
class Process:
    """A web process that serves these tests only."""

    address: tuple[str, int]
    pid: int

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, ANSWER_S)

    @contextmanager
    def holds_at_most(self, growth_mb: float) -> Iterator[None]:
        """Inside the block its resident memory never grows by more."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak is counted from now on
        before_mb = self._peak_mb()
        yield
        assert self._peak_mb() - before_mb <= growth_mb

    def _peak_mb(self) -> float:
        return parse_peak(Path(f"/proc/{self.pid}/status").read_text())


@pytest.fixture(scope="module")
def process(migrated_template: Settings) -> Iterator[Process]:
    with own_database(migrated_template) as settings:
        listener = socket.create_server(("127.0.0.1", 0))
        environment = {**os.environ, "DB_NAME": settings.DB_NAME, "RATE_LIMIT": "1000000/minute"}
        forked_off = forked.start("web", environment=environment, listener=listener)
        assert forked_off.pid is not None
        try:
            process = Process(listener.getsockname(), forked_off.pid)
            with process.connect() as connection:
                connection.sendall(GET + b"\r\n")
                assert status_of(connection) == 200
            yield process
        finally:
            forked.end(forked_off.pid)
            forked_off.join()
            listener.close()


def status_of(connection: socket.socket) -> int:
    """Of the next answer; what else has come of it is thrown away."""
    received = b""
    while not received.endswith(b"\r\n"):
        received += connection.recv(1)
    return int(received.split()[1])


def ends(connection: socket.socket) -> bool:
    """The other side closes the connection."""
    deadline = time.monotonic() + ANSWER_S
    with suppress(ConnectionError):
        while connection.recv(65_536):
            assert time.monotonic() < deadline
    return True


@pytest.mark.parametrize("flood", UNANSWERED, ids=named)
def test_what_does_not_end_is_not_held(process: Process, flood: Flood) -> None:
    with process.holds_at_most(GROWTH_MB_MAX), process.connect() as connection:
        connection.sendall(flood.begins)
        flood.send(connection)

        assert status_of(connection) == flood.status
        assert ends(connection)


@pytest.mark.parametrize("flood", ANSWERED, ids=named)
def test_what_follows_an_answer_is_not_held(process: Process, flood: Flood) -> None:
    with process.holds_at_most(GROWTH_MB_MAX), process.connect() as connection:
        connection.sendall(flood.begins)
        assert status_of(connection) == flood.status
        flood.send(connection)

        assert ends(connection)


def test_many_clients_together_make_a_process_hold_little(process: Process) -> None:
    floods = (*UNANSWERED, *ANSWERED) * TOGETHER

    def flood(flood: Flood) -> None:
        with process.connect() as connection:
            connection.sendall(flood.begins)
            flood.send(connection)

    with process.holds_at_most(GROWTH_TOGETHER_MB_MAX), ThreadPoolExecutor(len(floods)) as clients:
        list(clients.map(flood, floods))
