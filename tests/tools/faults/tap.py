"""A separate queue on the exchange, as any other consumer has: it receives what was published."""

import asyncio
from collections import Counter
from contextlib import suppress
from uuid import UUID

import orjson
from aio_pika.abc import AbstractIncomingMessage

from order_service.infra import rabbitmq
from order_service.settings import Settings
from tests.tools.faults.following import AWAY, Observer

QUEUE = "orders.faults-tap"  # a name that the service's own user has a right to
RECONNECT_S = 0.2
CLOSE_S = 2.0
PREFETCH = 1_000


class Published(Observer):
    """`published`: how often each event arrived; `disorder`: events whose first arrival came after
    a later version of their stream. It restores nothing that the service has to restore.

    `blind`: a row has removed the queue's binding, so the tap may have missed events; `excused`:
    the events that it has missed at such times.
    """

    retry_s = RECONNECT_S

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.published: Counter[UUID] = Counter()
        self.disorder: list[str] = []
        self.blind = False
        self.excused: set[UUID] = set()
        self._newest: dict[str, int] = {}
        self._bound = asyncio.Event()
        self._lost = asyncio.Event()  # the current session

    async def open(self) -> None:
        """Receives all that is published from now on, whatever happens to RabbitMQ meanwhile."""
        self.start()
        await self._bound.wait()

    async def rebind(self) -> None:
        """Binds the queue again, for a row that has deleted the exchange or its bindings."""
        self.blind = True
        self._bound.clear()
        self._lost.set()
        await self._bound.wait()

    async def observe(self) -> None:
        connection = await rabbitmq.connect(self._settings, "faults-tap")
        self._lost = lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            channel = await connection.channel()
            channel.close_callbacks.add(lambda *_: lost.set())
            await channel.set_qos(PREFETCH)
            queue = await channel.declare_queue(QUEUE, durable=True)
            await queue.bind(rabbitmq.EVENTS_EXCHANGE, rabbitmq.ALL_EVENTS)
            await queue.consume(self._take)
            self._bound.set()
            await lost.wait()
        finally:
            self._bound.clear()
            with suppress(*AWAY):
                async with asyncio.timeout(CLOSE_S):
                    await connection.close()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        body = orjson.loads(message.body)
        assert message.message_id is not None
        event_id = UUID(message.message_id)
        if not self.published[event_id]:
            stream, version = body["order_id"], body["version"]
            newest = self._newest.get(stream, 0)
            if version < newest:
                self.disorder.append(f"order {stream}: version {version} after {newest}")
            self._newest[stream] = max(version, newest)
        self.published[event_id] += 1
        with suppress(*AWAY):  # without a connection: RabbitMQ delivers the message again
            await message.ack()
