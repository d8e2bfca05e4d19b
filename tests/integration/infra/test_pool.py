"""The pool's free connections go to waiting callers in order of arrival."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from order_service.infra.postgres import WEB, FairQueue, create_engine, query
from order_service.settings import Settings

CLIENTS, CONNECTIONS, TIMES = 24, 4, 20


async def test_no_caller_waits_for_more_than_one_turn_of_all_others(settings: Settings) -> None:
    engine = create_engine(settings, WEB, application_name="test-pool", pool_size=CONNECTIONS)
    served, waited = 0, []

    async def query_repeatedly() -> None:
        for _ in range(TIMES):
            asked_at = served

            async def read(connection: AsyncConnection, asked_at: int = asked_at) -> None:
                nonlocal served
                waited.append(served - asked_at)
                served += 1
                await connection.execute(text("SELECT pg_sleep(0.001)"))

            await query(engine, read)

    await asyncio.gather(*(query_repeatedly() for _ in range(CLIENTS)))

    await engine.dispose()
    assert served == CLIENTS * TIMES
    assert max(waited) <= CLIENTS + CONNECTIONS  # earlier requests, and those in progress


async def test_a_connection_given_to_a_cancelled_caller_goes_to_the_next() -> None:
    queue, connection = FairQueue(1), ConnectionPoolEntry()
    waiting = asyncio.create_task(greenlet_spawn(queue.get, True, 5))
    await asyncio.sleep(0)  # until it waits
    queue.put_nowait(connection)  # assigned to the task, which has not run since
    waiting.cancel()

    await asyncio.wait((waiting,))

    assert queue.get_nowait() is connection
