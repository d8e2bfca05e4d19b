"""What rows of the fault table share: to go on hurting while the bench holds, and to look that what
must go on does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from tests.faults.bench import Bench
from tests.pipeline import eventually

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
    """A session of the database's owner, round the proxy."""
    connection = await asyncpg.connect(
        host=bench.settings["DB_HOST"],
        port=int(bench.settings["DB_PORT"]),
        user=bench.settings["DB_USER"],
        password=bench.settings["DB_PASSWORD"],
        database=bench.settings["DB_NAME"],
    )
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
    """Commands go on inside the block."""
    before = await appended(bench)
    yield

    async def more() -> bool:
        return await appended(bench) > before

    await eventually(more)


async def appended(bench: Bench) -> int:
    return int((await bench.sql("SELECT sum(position)::bigint AS n FROM partitions"))[0]["n"])


@asynccontextmanager
async def meanwhile_relayed(bench: Bench) -> AsyncIterator[None]:
    """The relay's checkpoints have moved inside the block."""
    before = (await bench.sql(RELAYED))[0]["positions"]
    yield

    async def moved() -> bool:
        return bool((await bench.sql(RELAYED))[0]["positions"] > before)

    await eventually(moved)


async def postgres_answers(bench: Bench) -> None:
    async def it_does() -> bool:
        try:
            await bench.sql("SELECT 1")
        except (asyncpg.PostgresError, OSError):
            return False
        return True

    await eventually(it_does)
