"""Those who look on while servers are hurt: again and again, until they are told to stop."""

import asyncio
from contextlib import suppress

from tests.support.servers.quiet import AWAY

__all__ = ["AWAY", "Following"]
CLOSE_AGAIN_S = 1.0


class Following:
    """`look` is called again, `again_s` after it has met a server that was away."""

    again_s: float

    def __init__(self) -> None:
        self._following: asyncio.Task[None] | None = None

    def follow(self) -> None:
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Raises what has ended it, if anything did but this.

        Told until it hears: redis-py sends by `asyncio.wait_for`, which in Python 3.11 swallows a
        cancellation that comes as the sending ends (python/cpython#86296).
        """
        if self._following is None:
            return
        while not self._following.done():
            self._following.cancel()
            await asyncio.wait((self._following,), timeout=CLOSE_AGAIN_S)
        with suppress(asyncio.CancelledError):
            self._following.result()

    async def look(self) -> None:
        """One session with the servers, for as long as they are there."""
        raise NotImplementedError

    async def _follow(self) -> None:
        while True:
            with suppress(*AWAY):
                await self.look()
            await asyncio.sleep(self.again_s)
