"""Readiness: whether the service can do all of its work now. Checks database, append, broker,
cache, lag.

Each check has a timeout, and the outcome is kept for a second, so that probes cause little load.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra.redis import Redis
from order_service.settings import Settings
from projections.monitoring.checks.check import Check, run_checks
from projections.monitoring.checks.registry import READYZ, START


class Readiness:
    """The readiness of one process. A check that hangs is not started again before it has ended."""

    def __init__(self, settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._running: dict[str, asyncio.Task[str]] = {}
        self._remembered: tuple[float, dict[str, str]] = (float("-inf"), {})
        self._lock = asyncio.Lock()

    async def report(self) -> dict[str, str]:
        """Name of each check -> `ok`, or what is wrong (the type of the error only: details are for
        the log)."""
        async with self._lock:
            at, report = self._remembered
            if time.monotonic() - at > limits.READINESS_REMEMBERED_S:
                report = await self._check_all()
                self._remembered = (time.monotonic(), report)
            return report

    async def _check_all(self) -> dict[str, str]:
        for check in READYZ:
            running = self._running.get(check.readyz)
            if running is None or running.done():
                self._running[check.readyz] = asyncio.create_task(self._outcome(check))
        await asyncio.wait(self._running.values(), timeout=limits.READINESS_CHECK_TIMEOUT_S)
        for task in self._running.values():
            # Not awaited: with a hung database the driver needs seconds to close its connection.
            task.cancel()
        return {
            name: task.result() if task.done() else "TimeoutError"
            for name, task in self._running.items()
        }

    async def _outcome(self, check: Check) -> str:
        try:
            async with self._subject(check.subject) as subject:
                found = await check.run(subject)
        except (Exception, asyncio.CancelledError) as error:
            return type(error).__name__
        return check.readyz_error if any(one.state == "wrong" for one in found) else "ok"

    def _subject(self, name: str) -> AbstractAsyncContextManager[Any]:
        """The subject of one check: each check has its own, so none waits for another's server."""
        if name in ("postgresql", "append"):
            return self._engine.connect()
        return nullcontext({"redis": self._redis, "settings": self._settings}[name])


async def check_start(engine: AsyncEngine) -> None:
    """Raises RuntimeError unless the database stores commits durably and has the schema revision of
    this code."""
    async with engine.connect() as connection:
        found = await run_checks(START, {"postgresql": connection})
    wrong = [
        f"{one.check} is {one.found}, expected {one.expected}: {one.remedy}"
        for one in found
        if one.state == "wrong"
    ]
    if wrong:
        raise RuntimeError(" ".join(wrong))
