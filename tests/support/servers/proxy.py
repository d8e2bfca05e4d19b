"""A TCP proxy on loopback that tests put between the service and a real server to disturb the link.

It passes all bytes until a test sets another mode; `heal` makes it pass them again. It keeps the
bytes that a mode holds back and passes them once it is healed, as a link does that was down.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

CHUNK_BYTES = 65_536
THROTTLED_CHUNK_BYTES = 1_024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


@dataclass(frozen=True)
class Mode:
    """How bytes pass. All but `replies_max` apply to both directions."""

    delay_s: float = 0.0  # of each chunk
    bytes_per_s: float | None = None  # of each connection and direction
    flows: bool = True
    accepts: bool = True  # False: a new connection is reset
    replies_max: int | None = None  # bytes of reply after which a connection is reset


class Proxy:
    """`replies`: while False, the proxy drops the server's bytes and sets `swallowed`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._replied: dict[asyncio.StreamWriter, int] = {}  # bytes since the mode was set
        self._mode = Mode()
        self._changed = asyncio.Event()  # the mode; a new event each time
        self.replies = True
        self.swallowed = asyncio.Event()
        self.port = 0

    # --- modes ------------------------------------------------------------------------------------

    def heal(self) -> None:
        self.replies = True
        self._set(Mode())

    def delay(self, seconds: float) -> None:
        self._set(Mode(delay_s=seconds))

    def throttle(self, bytes_per_s: float) -> None:
        self._set(Mode(bytes_per_s=bytes_per_s))

    def black_hole(self) -> None:
        """Connections stay open and new ones are accepted, but no byte passes."""
        self._set(Mode(flows=False))

    def reset(self) -> None:
        """Resets every connection, and each new one."""
        self._set(Mode(accepts=False))
        self.cut()

    def cut_after(self, replied_bytes: int) -> None:
        """Resets each connection after `replied_bytes` more bytes of reply."""
        self._set(Mode(replies_max=replied_bytes))

    def drop_replies(self) -> None:
        """Requests reach the server, but no reply comes back."""
        self.replies = False
        self.swallowed.clear()

    def cut(self) -> None:
        """Resets the current connections; new ones are not affected."""
        for writer in self._writers:
            _reset(writer)

    def _set(self, mode: Mode) -> None:
        self._mode = mode
        self._replied.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    # --- connections ------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._mode.accepts:
            return _reset(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:  # as without the proxy
            return _reset(writer)
        self._writers |= {writer, server_writer}
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, reply=False),
                self._pump(server_reader, writer, reply=True),
            )
        finally:
            self._writers -= {writer, server_writer}
            self._replied.pop(writer, None)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(self._chunk_bytes()):
                if reply and not self.replies:
                    self.swallowed.set()
                    continue
                await self._hold_back(len(chunk))
                if reply and not self._may_reply(writer, len(chunk)):
                    self._reset_both(reader, writer)
                    return
                writer.write(chunk)
                await writer.drain()
        writer.close()

    def _chunk_bytes(self) -> int:
        return CHUNK_BYTES if self._mode.bytes_per_s is None else THROTTLED_CHUNK_BYTES

    async def _hold_back(self, length: int) -> None:
        """Returns once a chunk of `length` bytes may pass."""
        while not self._mode.flows:
            await self._changed.wait()
        wait_s = self._mode.delay_s
        if self._mode.bytes_per_s is not None:
            wait_s += length / self._mode.bytes_per_s
        if wait_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    def _may_reply(self, writer: asyncio.StreamWriter, length: int) -> bool:
        if self._mode.replies_max is None:
            return True
        self._replied[writer] = self._replied.get(writer, 0) + length
        return self._replied[writer] <= self._mode.replies_max

    def _reset_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _reset(writer)
        for other in self._writers:
            if other.transport is reader._transport:  # type: ignore[attr-defined]
                _reset(other)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(host: str, port: int, own_port: int = 0) -> AsyncIterator[Proxy]:
    """`own_port`: where the proxy listens; 0: any free port."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", own_port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
