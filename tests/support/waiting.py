"""Waiting for a condition that nothing announces."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

# However busy the machine is. A wait ends as soon as its condition holds, so that the bound costs
# nothing where all is well.
WAIT_S = 60.0
LOOK_S = 0.01
T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T] | T],
    wanted: Callable[[T], object] = bool,
    limit_s: float = WAIT_S,
) -> T:
    """What `look` finds, as soon as it is `wanted`. TimeoutError after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while True:
            found = look()
            if isinstance(found, Awaitable):
                found = await found
            if wanted(found):
                return found
            await asyncio.sleep(LOOK_S)
