"""For tests of relay, consumer and worker: roles beside the test, and a tap on the exchange."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import orjson
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq
from order_service.settings import Settings
from tests.support.log.given_log import RawEvent, given_order
from tests.support.servers.proxy import Proxy
from tests.support.waiting import WAIT_S, eventually

Role = Callable[[Settings, asyncio.Event], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(role: Role, settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Runs the role as a task. At the end of the block it receives the stop event and must end
    without an error. A test may also cancel the task, which is the closest to a kill.
    """
    stop = asyncio.Event()
    task = asyncio.ensure_future(role(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def through(proxy: Proxy, settings: Settings) -> Settings:
    """Settings with which the service reaches RabbitMQ through the proxy."""
    return settings.model_copy(update={"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": proxy.port})


class Tap:
    """Every message of the exchange, in order of arrival."""

    def __init__(self) -> None:
        self.messages: list[AbstractIncomingMessage] = []
        self._arrived = asyncio.Condition()

    async def take(self, message: AbstractIncomingMessage) -> None:
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(enough)

    async def has_all(self, heads: dict[int, int]) -> None:
        """Waits until every position up to `heads` (by partition) has arrived."""
        wanted = {(p, n) for p, head in heads.items() for n in range(1, head + 1)}
        await self.until(lambda: wanted <= set(self.places))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [orjson.loads(message.body) for message in self.messages]

    @property
    def places(self) -> list[tuple[int, int]]:
        """Partition and position of each, repeats included."""
        return [(body["partition"], body["position"]) for body in self.bodies]

    def first_appearances(self, partition: int) -> list[int]:
        return list(dict.fromkeys(n for p, n in self.places if p == partition))


async def tap_into(channel: AbstractChannel) -> Tap:
    """A tap with a separate queue, as any other consumer has."""
    tap = Tap()
    await rabbitmq.declare(channel)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(rabbitmq.EVENTS_EXCHANGE, rabbitmq.ALL_EVENTS)
    await queue.consume(tap.take, no_ack=True)
    return tap


async def given_backlog(engine: AsyncEngine, events: int, partition: int = 0) -> UUID:
    """Appends one order with `events` events at once; returns its id."""
    notes = (RawEvent("NoteAdded", f'{{"number": {n}}}') for n in range(events))
    return await given_order(engine, *notes, partition=partition)


async def checkpoints(engine: AsyncEngine, name: str = "relay") -> dict[int, int]:
    statement = text("SELECT partition, position FROM checkpoints WHERE name = :name")
    async with engine.connect() as connection:
        rows = await connection.execute(statement, {"name": name})
        return {row.partition: row.position for row in rows}


async def relayed(engine: AsyncEngine, heads: dict[int, int]) -> None:
    """Waits until the relay's checkpoints have reached `heads` (by partition)."""

    async def reached() -> bool:
        found = await checkpoints(engine)
        return all(found[partition] >= head for partition, head in heads.items())

    await eventually(reached)
