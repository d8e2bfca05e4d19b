"""Clients that hold on to connections and hardly move: a byte in five seconds, or nothing."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

BYTE_EVERY_S = 5.0
RETRY_S = 0.5
PIPELINED = 40  # answers of a slow reader: more than the systems' buffers take


@dataclass
class Kind:
    """`begins`: sent at once; the rest byte by byte. A reader sends all, and takes byte by byte."""

    name: str
    begins: bytes
    drips: bytes = b""
    reads: bool = False
    cut_off: int = 0
    longest_s: float = 0.0  # that one of them was let be

    def ended(self, after_s: float) -> None:
        self.cut_off += 1
        self.longest_s = max(self.longest_s, after_s)


def kinds(headers: Mapping[str, str], large: str) -> tuple[Kind, ...]:
    """`large`: the path of an answer that is."""
    who = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    get = f"GET {large} HTTP/1.1\r\nHost: x\r\n{who}".encode()
    post = f"POST /orders/ HTTP/1.1\r\nHost: x\r\n{who}Content-Type: application/json\r\n".encode()
    return (
        Kind("nothing", b""),
        Kind("head", b"", drips=get * 10),
        Kind("body", post + b"Content-Length: 9999\r\n\r\n", drips=b" " * 9999),
        Kind("reader", (get + b"\r\n") * PIPELINED, reads=True),
        Kind("idle", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    )


@asynccontextmanager
async def holding_on(url: str, clients: int, of: tuple[Kind, ...]) -> AsyncIterator[None]:
    """Inside the block there are so many, of all kinds alike: who is cut off comes again."""
    tasks = [
        asyncio.create_task(_for_ever(url, kind))
        for kind in itertools.islice(itertools.cycle(of), clients)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(url: str, kind: Kind) -> None:
    while True:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            await _once(url, kind)
        kind.ended(time.monotonic() - began)
        await asyncio.sleep(RETRY_S)


async def _once(url: str, kind: Kind) -> None:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    with socket.socket() as held:
        held.setblocking(False)
        if kind.reads:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(held, (address.hostname, address.port))
        await loop.sock_sendall(held, kind.begins)
        if kind.reads:
            # What had arrived before a reset can be read for hours; the reset itself shows here.
            while await loop.sock_recv(held, 1):
                await asyncio.sleep(BYTE_EVERY_S)
                if held.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return
        dripping = asyncio.create_task(_drip(held, kind.drips))
        try:
            while await loop.sock_recv(held, 65_536):
                pass
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def _drip(held: socket.socket, data: bytes) -> None:
    for number in range(len(data)):
        await asyncio.get_running_loop().sock_sendall(held, data[number : number + 1])
        await asyncio.sleep(BYTE_EVERY_S)
