"""A follower that polls a server during faults can be closed."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.waiting import WAIT_S
from tests.tools.faults import following
from tests.tools.faults.following import Following


class IgnoresFirstCancellation(Following):
    """Its driver swallows the first cancellation."""

    again_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.looking = asyncio.Event()

    async def look(self) -> None:
        self.looks += 1
        self.looking.set()
        if self.looks > 1:
            await asyncio.Event().wait()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_closing_ends_a_follower_whose_driver_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "CLOSE_AGAIN_S", 0.01)
    follower = IgnoresFirstCancellation()
    follower.follow()
    await follower.looking.wait()

    async with asyncio.timeout(WAIT_S):
        await follower.close()

    assert follower.looks == 2
