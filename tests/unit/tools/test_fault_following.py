"""An observer that polls a server during faults can be closed."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.waiting import WAIT_S
from tests.tools.faults import following
from tests.tools.faults.following import Observer


class IgnoresFirstCancellation(Observer):
    """Its driver swallows the first cancellation."""

    retry_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.sessions = 0
        self.started = asyncio.Event()

    async def observe(self) -> None:
        self.sessions += 1
        self.started.set()
        if self.sessions > 1:
            await asyncio.Event().wait()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_closing_ends_an_observer_whose_driver_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "CANCEL_AGAIN_S", 0.01)
    observer = IgnoresFirstCancellation()
    observer.start()
    await observer.started.wait()

    async with asyncio.timeout(WAIT_S):
        await observer.close()

    assert observer.sessions == 2
