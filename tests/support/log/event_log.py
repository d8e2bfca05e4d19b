"""An opened event log, appends for it, and the checks that every test of it shares."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.commands.handler import Answer, Change, Creation, change_order, place_order
from order_service.domain.commands import OrderCommand, PlaceOrder
from order_service.ids import uuid7
from order_service.infra.postgres import WEB, create_engine
from order_service.log import reading
from order_service.log.append import Append
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from tests.support.log.examples import BY_USER, PLACED
from tests.support.servers.proxy import Proxy, proxy_to


async def no_refresh(orders: Sequence[FoldedOrder]) -> None:
    pass


@asynccontextmanager
async def opened(settings: Settings, refresh: Any = no_refresh) -> AsyncIterator[EventLog]:
    engine = create_engine(settings, WEB, application_name="test-web")
    append_engine = create_engine(
        settings,
        WEB,
        application_name="test-append",
        pool_size=1,
        statement_timeout_ms=limits.APPEND_STATEMENT_TIMEOUT_MS,
    )
    async with engine.connect() as connection:
        partitions = len(await reading.heads(connection))
    log = EventLog(engine, append_engine, partitions, refresh)
    log.start()
    try:
        yield log
    finally:
        await log.close()
        await engine.dispose()
        await append_engine.dispose()


@asynccontextmanager
async def opened_through_proxy(settings: Settings) -> AsyncIterator[tuple[EventLog, Proxy]]:
    """A log whose every word to PostgreSQL and back goes through the proxy."""
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        through = settings.model_copy(update={"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port})
        async with opened(through) as log:
            yield log, proxy


async def placed(log: EventLog, order_id: UUID, command: PlaceOrder, metadata: Metadata) -> Answer:
    async def asked() -> PlaceOrder:
        return command

    return await place_order(log, Creation(order_id, asked, metadata))


async def changed(
    log: EventLog,
    order_id: UUID,
    command: OrderCommand,
    metadata: Metadata,
    authorize: Callable[[], None] = lambda: None,
) -> Answer:
    change = Change(lambda _: command, metadata, check_visible=lambda _: None, authorize=authorize)
    return await change_order(log, order_id, change)


def on_partition(partition: int) -> UUID:
    return UUID(int=uuid4().int // 4 * 4 + partition)


def new_order(stream_id: UUID | None = None) -> Append:
    return Append(stream_id or uuid7(), None, (PLACED,), BY_USER)


async def positions(engine: AsyncEngine) -> dict[int, list[int]]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT partition, position FROM events ORDER BY partition, position")
        )
        found: dict[int, list[int]] = {}
        for row in rows:
            found.setdefault(row.partition, []).append(row.position)
        return found


async def assert_dense(engine: AsyncEngine, events: int) -> None:
    """No hole, no double, and the counters say what the rows say."""
    found = await positions(engine)
    assert all(ps == list(range(1, len(ps) + 1)) for ps in found.values())
    assert sum(map(len, found.values())) == events
    async with engine.connect() as connection:
        heads = await reading.heads(connection)
    assert {p: n for p, n in heads.items() if n} == {p: len(ps) for p, ps in found.items()}


@asynccontextmanager
async def holding(settings: Settings, partition: int) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Another writer stands in the middle of an append to this partition; at the end it has rolled
    back what the test did not commit."""
    connection = await raw(settings)
    await connection.execute("BEGIN")
    await raw_append(connection, on_partition(partition))
    try:
        yield connection
    finally:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
            await connection.close()


async def raw(settings: Settings) -> "asyncpg.Connection[Any]":
    return await asyncpg.connect(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=settings.DB_NAME,
    )


async def raw_append(connection: "asyncpg.Connection[Any]", stream_id: UUID) -> None:
    one = [stream_id.int % 4], [stream_id], [0], [1]
    event = [1], [1], [uuid4()], ["OrderDelivered"], [1], ["{}"], ['["system"]']
    await connection.execute(
        "SELECT append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)",
        *one,
        *event,
        *([], [], []),
        *([], [], [], []),
    )
