"""Serves `GET /metrics` of one process to Prometheus, on the first free port from METRICS_ADDRESS.

Each process has its own port: counters that were summed per role would decrease whenever one of its
processes is replaced. The endpoint needs no password, so its address is loopback or a private
network; the metrics expose no secret and no personal data. It is a minimal HTTP server: the relay
and the workers have no other, and the API's server would cost them memory.
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

Refresh = Callable[[], Awaitable[None]]  # updates the metrics that need a query


@asynccontextmanager
async def exposed(
    settings: Settings, role: str, refresh: Refresh | None = None
) -> AsyncIterator[None]:
    """Inside the block this process serves its metrics; `refresh` is awaited before each
    response."""
    server = await expose(settings, role, refresh)
    try:
        yield
    finally:
        if server is not None:
            server.close()


async def expose(
    settings: Settings, role: str, refresh: Refresh | None = None
) -> asyncio.AbstractServer | None:
    """Like `exposed`, until the server is closed. None if metrics are off, or if no port is free,
    which is no reason to end the process."""
    PROCESS.read = lambda: {(role,): 1}
    if not settings.METRICS_ADDRESS:
        return None
    host, _, first = settings.METRICS_ADDRESS.rpartition(":")
    handler = _Handler(refresh)
    for port in range(int(first), int(first) + limits.METRICS_PORTS_MAX):
        try:
            server = await asyncio.start_server(
                handler, host.strip("[]"), port, limit=limits.METRICS_HEAD_BYTES_MAX
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            logger.warning("Cannot serve metrics at %s:%d: %s", host, port, error.strerror)
            return None
        logger.info("Serving metrics at http://%s:%d/metrics", host, port)
        return server
    logger.warning("Cannot serve metrics: no port is free from %s on.", first)
    return None


async def exposition(refresh: Refresh | None = None) -> bytes:
    """All metrics of this process; metrics that `refresh` cannot update are left out."""
    if refresh is not None:
        await refresh()
    return generate_latest(_FamiliesWithSamples())


class _FamiliesWithSamples(Collector):
    """The registry without the families that have no samples in this process."""

    def collect(self) -> Iterable[Metric]:
        return [family for family in REGISTRY.collect() if family.samples]


class _Handler:
    """Handles one request per connection."""

    def __init__(self, refresh: Refresh | None) -> None:
        self._refresh = refresh
        self._open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            # A client that disconnects, sends no request or reads no response needs no handling.
            with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                async with asyncio.timeout(limits.METRICS_TIMEOUT_S):
                    if self._open <= limits.METRICS_CONNECTIONS_MAX:
                        writer.write(await self._response(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    async def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if (method, path) != (b"GET", b"/metrics"):
            return _encoded("404 Not Found", b"This port serves only GET /metrics.\n")
        return _encoded("200 OK", await exposition(self._refresh))


def _encoded(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
