"""Shared by rows: repeats a fault while the bench holds, and checks what must continue under it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from tests.support.servers.stack import database_arguments
from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench

RELAYED = "SELECT sum(position)::bigint AS positions FROM checkpoints WHERE name = 'relay'"


async def repeat(gap_s: float, bench: Bench, act: Callable[[], Awaitable[object]]) -> None:
    """Calls `act` every `gap_s` seconds, until the bench has held."""
    holding = asyncio.ensure_future(bench.hold())
    try:
        while not holding.done():
            await act()
            await asyncio.wait({holding}, timeout=gap_s)
    finally:
        holding.cancel()
    await asyncio.gather(holding)


@asynccontextmanager
async def owner_session(bench: Bench) -> AsyncIterator[asyncpg.Connection]:
    """A session of the database's owner, without the proxy. It waits for the server, which may
    still recover from the row before.
    """
    await wait_for_postgres(bench)
    connection = await asyncpg.connect(**database_arguments(bench.settings))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def locked_table(bench: Bench, table: str) -> AsyncIterator[None]:
    """Locks the table against all other sessions, readers included."""
    async with owner_session(bench) as session, session.transaction():
        await session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def commands_continue(bench: Bench) -> AsyncIterator[None]:
    """O7: the fault does not stop commands. The end of the block waits for an acknowledged command
    that began inside it: leave the block while the fault still lasts.
    """
    began = len(bench.journal.attempts)
    yield

    async def acknowledged() -> bool:
        since = bench.journal.attempts[began:]
        return any(a.outcome == "ok" and a.key is not None for a in since)

    await expect(bench, "O7: no command was acknowledged during the fault", acknowledged)


@asynccontextmanager
async def relay_continues(bench: Bench) -> AsyncIterator[None]:
    """O7: the fault does not stop the relay. Leave the block while the fault still lasts."""
    [before] = await bench.sql(RELAYED)
    yield

    async def moved() -> bool:
        [now] = await bench.sql(RELAYED)
        return bool(now["positions"] > before["positions"])

    await expect(bench, "O7: no event was relayed during the fault", moved)


async def expect(bench: Bench, finding: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `holds` is true; notes the finding if it does not become true in time."""
    try:
        await eventually(holds)
    except TimeoutError:
        bench.shop.wrong.append(finding)


async def wait_for_postgres(bench: Bench) -> None:
    async def answers() -> bool:
        try:
            await bench.sql("SELECT 1")
        except (asyncpg.PostgresError, OSError):
            return False
        return True

    await eventually(answers)
