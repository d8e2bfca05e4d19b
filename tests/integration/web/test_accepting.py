"""The web process's event loop under load: whoever connects is taken in at once."""

import asyncio
import socket
from typing import Any

import pytest

from order_service.web.event_loop import Loop

CLIENTS = 100


class Noting(asyncio.Protocol):
    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(transport)


def test_clients_that_come_together_are_taken_in_together() -> None:
    """And not one each time round, of which each takes long under load."""
    made: list[Any] = []
    turns = 0

    async def serve() -> None:
        nonlocal turns
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Noting(made), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(CLIENTS)]
        while len(made) < CLIENTS:
            turns += 1
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        for transport in made:
            transport.abort()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(serve(), 30))

    assert turns < CLIENTS / 4
