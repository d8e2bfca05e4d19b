"""Whether the service can do all of its work now: database, broker, cache, lag.

Each check is bounded, and the outcome is remembered for a second, so that probes cannot become a
load.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra.redis import Redis
from order_service.settings import Settings

Check = Callable[[], Awaitable[None]]  # returns when all is well, else raises

# The last revision in `migrations`. Not asked of Alembic, whose import is a seventh of a web
# process's start; a test holds it there.
SCHEMA_REVISION = "0007"
# What the relay or a live read model should have reached long ago: somebody does not do his work.
# (A log in which nothing happens tells nothing of that.)
_LATE = text(
    "SELECT count(*) FROM checkpoints c JOIN partitions p ON p.partition = c.partition "
    "LEFT JOIN read_models m ON m.name = c.name "
    "JOIN events e ON e.partition = c.partition AND e.position = c.position + 1 "
    "WHERE (c.name = 'relay' OR c.generation = m.live_generation) AND c.position < p.position "
    "AND e.recorded_at < clock_timestamp() - make_interval(secs => :lag_s)"
)
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"


class Readiness:
    """The checks of one process; a check that hangs is not started again before it has ended."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._running: dict[str, asyncio.Task[str]] = {}
        self._remembered: tuple[float, dict[str, str]] = (float("-inf"), {})
        self._lock = asyncio.Lock()

    async def report(self) -> dict[str, str]:
        """Name of each check -> `ok`, or what is wrong (the kind of error only: details are for
        the log)."""
        async with self._lock:
            at, report = self._remembered
            if time.monotonic() - at > limits.READINESS_REMEMBERED_S:
                report = await self._check_all()
                self._remembered = (time.monotonic(), report)
            return report

    async def _check_all(self) -> dict[str, str]:
        for name, check in self._checks.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = asyncio.create_task(_outcome(check))
        await asyncio.wait(self._running.values(), timeout=limits.READINESS_CHECK_TIMEOUT_S)
        for task in self._running.values():
            # Not waited for: a hung database's driver takes seconds to give its connection up.
            task.cancel()
        return {
            name: task.result() if task.done() else "TimeoutError"
            for name, task in self._running.items()
        }


async def _outcome(check: Check) -> str:
    try:
        await check()
    except (Exception, asyncio.CancelledError) as error:
        return type(error).__name__
    return "ok"


def database(engine: AsyncEngine) -> Check:
    async def check() -> None:
        await check_migrations(engine)

    return check


class Lagging(Exception):
    """Orders do not go all the way."""


def lag(engine: AsyncEngine) -> Check:
    async def check() -> None:
        async with engine.connect() as connection:
            found = await connection.execute(_LATE, {"lag_s": limits.READINESS_LAG_S})
            if found.scalar_one():
                raise Lagging

    return check


def cache(redis: Redis) -> Check:
    async def check() -> None:
        await redis.ping()

    return check


def broker(settings: Settings) -> Check:
    """RabbitMQ accepts and speaks: it answers the protocol header, which a mere open port does
    not."""

    async def check() -> None:
        reader, writer = await asyncio.open_connection(
            settings.RABBITMQ_HOST, settings.RABBITMQ_PORT
        )
        try:
            writer.write(_AMQP_HEADER)
            await reader.readexactly(7)  # the frame header of Connection.Start
        finally:
            writer.close()

    return check


async def check_migrations(engine: AsyncEngine) -> None:
    """Raises unless the database stands at the revision that this code was written for."""
    async with engine.connect() as connection:
        found = (
            await connection.execute(text("SELECT version_num FROM alembic_version"))
        ).scalar_one()
    if found != SCHEMA_REVISION:
        raise RuntimeError(
            f"The database is at migration {found}, this code needs {SCHEMA_REVISION}: "
            "run `./entrypoint.sh migrate`."
        )


async def check_durability(engine: AsyncEngine) -> None:
    """Raises unless a commit that PostgreSQL acknowledges is on disk: all promises rest on that."""
    names = ("fsync", "full_page_writes", "synchronous_commit")
    async with engine.connect() as connection:
        for name in names:
            value = (await connection.execute(text(f"SHOW {name}"))).scalar_one()
            if value == "off":
                raise RuntimeError(
                    f"PostgreSQL runs with {name} = {value}: acknowledged orders could be lost."
                )
