"""Who looks on while servers are hurt can be ended."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.waiting import WAIT_S
from tests.tools.faults import following
from tests.tools.faults.following import Following


class HardOfHearing(Following):
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


async def test_it_ends_though_a_driver_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "CLOSE_AGAIN_S", 0.01)
    onlooker = HardOfHearing()
    onlooker.follow()
    await onlooker.looking.wait()

    async with asyncio.timeout(WAIT_S):
        await onlooker.close()

    assert onlooker.looks == 2
