"""Who gets the next free connection of a pool."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from order_service.infra.postgres import WEB, FairQueue, create_engine, query
from order_service.settings import Settings

CLIENTS, CONNECTIONS, TIMES = 24, 4, 20


async def test_nobody_waits_longer_than_all_others_take(settings: Settings) -> None:
    engine = create_engine(settings, WEB, application_name="test-pool", pool_size=CONNECTIONS)
    served, waited = 0, []

    async def ask_again_and_again() -> None:
        for _ in range(TIMES):
            asked_at = served

            async def read(connection: AsyncConnection, asked_at: int = asked_at) -> None:
                nonlocal served
                waited.append(served - asked_at)
                served += 1
                await connection.execute(text("SELECT pg_sleep(0.001)"))

            await query(engine, read)

    await asyncio.gather(*(ask_again_and_again() for _ in range(CLIENTS)))

    await engine.dispose()
    assert served == CLIENTS * TIMES
    assert max(waited) <= CLIENTS + CONNECTIONS  # those that were asked for before, and are served


async def test_what_is_given_to_somebody_who_has_just_given_up_goes_to_the_next() -> None:
    turns, connection = FairQueue(1), ConnectionPoolEntry()
    waiting = asyncio.create_task(greenlet_spawn(turns.get, True, 5))
    await asyncio.sleep(0)  # it waits
    turns.put_nowait(connection)  # it is his now, but he has not run since
    waiting.cancel()

    await asyncio.wait((waiting,))

    assert turns.get_nowait() is connection
