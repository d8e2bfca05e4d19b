"""The web process's event loop: uvloop's, which here accepts many connections in one turn.

uvloop accepts one connection per turn. A turn under load takes some ten milliseconds, so the last
of a thousand new clients would wait for a minute until the process reads or refuses its request.
Here a turn also accepts the connections that wait behind the first one.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvloop

from order_service import limits

Factory = Callable[[], asyncio.BaseProtocol]


class Loop(uvloop.Loop):
    """For uvicorn: `--loop order_service.web.event_loop:Loop`."""

    async def create_server(self, factory: Factory, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]  # passes all other arguments on
        """Like uvloop's; whenever it accepts one connection, all that wait are accepted."""
        waiting = _WaitingConnections(self, factory)

        def made() -> asyncio.BaseProtocol:
            waiting.accept_soon()
            return factory()

        waiting.server = await super().create_server(made, *arguments, **named)
        return waiting.server


class _WaitingConnections:
    """The connections that wait at the server's listening sockets."""

    def __init__(self, loop: Loop, factory: Factory) -> None:
        self.server: Any = None
        self._loop = loop
        self._factory = factory
        self._scheduled = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def accept_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._accept)

    def _accept(self) -> None:
        self._scheduled = False
        for listener in self.server.sockets:  # empty once the server is closed
            listening = socket.socket(fileno=listener.fileno())
            try:
                for _ in range(limits.ACCEPT_BATCH_MAX):
                    self._connect(listening.accept()[0])
            except OSError:
                pass  # none waits, or no descriptor is left: then uvloop tries again
            finally:
                listening.detach()

    def _connect(self, connection: socket.socket) -> None:
        connecting = self._loop.connect_accepted_socket(self._factory, connection)
        task = self._loop.create_task(connecting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
