"""HTTP as bytes on a socket: for requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.support.waiting import WAIT_S


@dataclass(frozen=True)
class Answer:
    """`rest`: what followed its body on the connection; None: the connection stayed open."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer:
        """The next one, whole. Raises EOFError or ConnectionError if the server hangs up before,
        TimeoutError for a hang."""
        async with asyncio.timeout(WAIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = {k.lower(): v for k, _, v in (field.partition(": ") for field in fields)}
            status = int(status_line.split(" ")[1])
            if status == 100:
                return await self.answer()
            if headers.get("transfer-encoding") == "chunked":
                return Answer(status, headers, await self._chunks())
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(status, headers, body)

    async def _chunks(self) -> bytes:
        chunks = []
        while True:
            size = int((await self.reader.readline()).strip(), 16)
            chunks.append((await self.reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(chunks)

    async def rest(self) -> bytes:
        """What comes until the server closes the connection; TimeoutError if it never does."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def connected(port: int) -> bool:
    """Whether a server listens at this port of loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def wire(web: httpx.AsyncClient) -> AsyncIterator[Wire]:
    """A connection to the server that this client asks."""
    reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
