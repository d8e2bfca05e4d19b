"""The web process's event loop: uvloop's, that takes connections in as they come.

uvloop takes in one connection each time round. Under load a turn takes some ten milliseconds, so
that of a thousand new clients the last would wait for a minute before anybody read its request, or
told it to come again. Here whoever waits behind that one is taken in with it.
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

    async def create_server(self, factory: Factory, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]  # passes on whatever else there is
        """A server as uvloop's, which takes in all that wait whenever one connection is made."""
        others = _Others(self, factory)

        def made() -> asyncio.BaseProtocol:
            others.take_in_soon()
            return factory()

        others.server = await super().create_server(made, *arguments, **named)
        return others.server


class _Others:
    """Who waits where the server listens."""

    def __init__(self, loop: Loop, factory: Factory) -> None:
        self.server: Any = None
        self._loop = loop
        self._factory = factory
        self._soon = False
        self._made: set[asyncio.Task[Any]] = set()

    def take_in_soon(self) -> None:
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._take_in)

    def _take_in(self) -> None:
        self._soon = False
        for listener in self.server.sockets:  # none, once it is closed
            listening = socket.socket(fileno=listener.fileno())
            try:
                for _ in range(limits.ACCEPTED_TOGETHER_MAX):
                    self._take_in_one(listening.accept()[0])
            except OSError:
                pass  # nobody waits, or there is no descriptor left: then uvloop tries again
            finally:
                listening.detach()

    def _take_in_one(self, connection: socket.socket) -> None:
        connecting = self._loop.connect_accepted_socket(self._factory, connection)
        task = self._loop.create_task(connecting)
        self._made.add(task)
        task.add_done_callback(self._made.discard)
