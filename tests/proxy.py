"""A TCP proxy on loopback that tests put between our code and a real server, to spoil the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Proxy:
    """`replies`: while False, what the server says is swallowed. `cut()` resets every
    connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.replies = True
        self.swallowed = asyncio.Event()
        self.port = 0

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                if reply and not self.replies:
                    self.swallowed.set()
                    continue
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, server_writer}
        await asyncio.gather(
            self._pump(reader, server_writer, reply=False),
            self._pump(server_reader, writer, reply=True),
        )
        self._writers -= {writer, server_writer}

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(host: str, port: int, own_port: int = 0) -> AsyncIterator[Proxy]:
    """`own_port`: where it listens; 0 for any free one."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", own_port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
