"""Slow clients: each keeps its connection and sends or reads a byte in five seconds, or nothing."""

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
PIPELINED = 40  # answers for a slow reader: more than the kernel's buffers hold


@dataclass
class Kind:
    """`begins`: sent at once; `drips`: sent byte by byte. `reads`: reads byte by byte instead."""

    name: str
    begins: bytes
    drips: bytes = b""
    reads: bool = False
    disconnected: int = 0
    longest_s: float = 0.0  # of a connection

    def ended(self, after_s: float) -> None:
        self.disconnected += 1
        self.longest_s = max(self.longest_s, after_s)


def kinds(headers: Mapping[str, str], large: str) -> tuple[Kind, ...]:
    """`large`: the path of a large answer."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    get = f"GET {large} HTTP/1.1\r\nHost: x\r\n{head}".encode()
    post = f"POST /orders/ HTTP/1.1\r\nHost: x\r\n{head}Content-Type: application/json\r\n".encode()
    return (
        Kind("nothing", b""),
        Kind("head", b"", drips=get * 10),
        Kind("body", post + b"Content-Length: 9999\r\n\r\n", drips=b" " * 9999),
        Kind("reader", (get + b"\r\n") * PIPELINED, reads=True),
        Kind("idle", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    )


@asynccontextmanager
async def slow_connections(url: str, clients: int, of: tuple[Kind, ...]) -> AsyncIterator[None]:
    """Inside the block `clients` clients, evenly of all kinds, are connected; a disconnected client
    connects again.
    """
    tasks = [
        asyncio.create_task(_reconnect_forever(url, kind))
        for kind in itertools.islice(itertools.cycle(of), clients)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reconnect_forever(url: str, kind: Kind) -> None:
    while True:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            await _connect_once(url, kind)
        kind.ended(time.monotonic() - began)
        await asyncio.sleep(RETRY_S)


async def _connect_once(url: str, kind: Kind) -> None:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    with socket.socket() as held:
        held.setblocking(False)
        if kind.reads:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(held, (address.hostname, address.port))
        await loop.sock_sendall(held, kind.begins)
        if kind.reads:
            # Bytes from before a reset can be read for hours; SO_ERROR shows the reset itself.
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
