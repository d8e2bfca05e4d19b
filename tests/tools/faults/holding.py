"""What rows of the fault table share: to go on hurting while the bench holds, and to look that what
must go on does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from tests.support.servers.stack import database_arguments
from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench

RELAYED = "SELECT sum(position)::bigint AS positions FROM checkpoints WHERE name = 'relay'"


async def every(gap_s: float, bench: Bench, act: Callable[[], Awaitable[object]]) -> None:
    """Acts, waits `gap_s`, acts again: until the bench has held."""
    holding = asyncio.ensure_future(bench.hold())
    try:
        while not holding.done():
            await act()
            await asyncio.wait({holding}, timeout=gap_s)
    finally:
        holding.cancel()
    await asyncio.gather(holding)


@asynccontextmanager
async def owner(bench: Bench) -> AsyncIterator[asyncpg.Connection]:
    """A session of the database's owner, round the proxy; once the server answers, which may still
    suffer from the row before."""
    await postgres_answers(bench)
    connection = await asyncpg.connect(**database_arguments(bench.settings))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def locked(bench: Bench, table: str) -> AsyncIterator[None]:
    """Nobody else may so much as read the table."""
    async with owner(bench) as session, session.transaction():
        await session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def meanwhile_accepted(bench: Bench) -> AsyncIterator[None]:
    """O7: the fault does not stop commands. To be left before it ends: it waits for one that was
    acknowledged, and begun inside the block."""
    began = len(bench.journal.attempts)
    yield

    async def acknowledged() -> bool:
        since = bench.journal.attempts[began:]
        return any(a.outcome == "ok" and a.key is not None for a in since)

    await goes_on(bench, "O7: no command was acknowledged while it lasted", acknowledged)


@asynccontextmanager
async def meanwhile_relayed(bench: Bench) -> AsyncIterator[None]:
    """The same of events, which the relay publishes."""
    [before] = await bench.sql(RELAYED)
    yield

    async def moved() -> bool:
        [now] = await bench.sql(RELAYED)
        return bool(now["positions"] > before["positions"])

    await goes_on(bench, "O7: no event was relayed while it lasted", moved)


async def goes_on(bench: Bench, finding: str, happens: Callable[[], Awaitable[bool]]) -> None:
    try:
        await eventually(happens)
    except TimeoutError:
        bench.shop.wrong.append(finding)


async def postgres_answers(bench: Bench) -> None:
    async def it_does() -> bool:
        try:
            await bench.sql("SELECT 1")
        except (asyncpg.PostgresError, OSError):
            return False
        return True

    await eventually(it_does)
