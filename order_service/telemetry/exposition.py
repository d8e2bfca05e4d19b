"""`GET /metrics` of one process, for Prometheus: on the first free port from METRICS_ADDRESS on.

Each process has a port of its own, whatever its role and however many there are of it: numbers that
were added up for a role would go back whenever one of its processes is replaced. Nobody is asked
who he is, so the address is loopback, or a network of the operator's own; nothing that is told is a
secret or about anybody. It is no HTTP server for more than that: relay and workers have none, and
what serves the API need not be in their memory.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.registry import Collector

from order_service import limits
from order_service.settings import Settings
from order_service.telemetry.metrics import PROCESS, REGISTRY

logger = logging.getLogger(__name__)

Look = Callable[[], Awaitable[None]]  # brings up to date what has to be asked of others


@asynccontextmanager
async def exposed(settings: Settings, role: str, look: Look | None = None) -> AsyncIterator[None]:
    """Inside the block this process tells what it counts; `look` is awaited before each answer."""
    server = await expose(settings, role, look)
    try:
        yield
    finally:
        if server is not None:
            server.close()


async def expose(
    settings: Settings, role: str, look: Look | None = None
) -> asyncio.AbstractServer | None:
    """As `exposed`, until the server is closed. None where it is off, or no port is free: no role
    ends for that."""
    PROCESS.read = lambda: {(role,): 1}
    if not settings.METRICS_ADDRESS:
        return None
    host, _, first = settings.METRICS_ADDRESS.rpartition(":")
    answering = _Answering(look)
    for port in range(int(first), int(first) + limits.METRICS_PORTS_MAX):
        try:
            server = await asyncio.start_server(
                answering, host.strip("[]"), port, limit=limits.METRICS_HEAD_BYTES_MAX
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            logger.warning("metrics are not to be had at %s:%d: %s", host, port, error.strerror)
            return None
        logger.info("metrics at http://%s:%d/metrics", host, port)
        return server
    logger.warning("metrics are not to be had: no port is free from %s on", first)
    return None


async def exposition(look: Look | None = None) -> bytes:
    """All that this process counts. What cannot be found out now is left out."""
    if look is not None:
        await look()
    return generate_latest(_Told())


class _Told(Collector):
    """Without the families of which this process has nothing to tell."""

    def collect(self) -> Iterable[Metric]:
        return [family for family in REGISTRY.collect() if family.samples]


class _Answering:
    """One request a connection."""

    def __init__(self, look: Look | None) -> None:
        self._look = look
        self._open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            # Whoever breaks off, sends no request or takes no answer is no business of ours.
            with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                async with asyncio.timeout(limits.METRICS_TIMEOUT_S):
                    if self._open <= limits.METRICS_CONNECTIONS_MAX:
                        writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if (method, path) != (b"GET", b"/metrics"):
            return _answer("404 Not Found", b"Only GET /metrics is answered here.\n")
        return _answer("200 OK", await exposition(self._look))


def _answer(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
