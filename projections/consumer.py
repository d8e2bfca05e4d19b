"""The consumer: turns messages into tasks, and each second looks for what no message told.

May import broker, db, tasks, advance, the registry. A message says that a partition has moved, and
is acknowledged once RabbitMQ has taken a task for every projection; what arrived together makes one
task a projection and partition. The tick compares the log's heads with the checkpoints, so that a
lost message, a purged queue or a dead task costs a second or two.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import broker
from order_service import settings as limits
from order_service.db import PROJECTOR, create_engine
from order_service.settings import Settings
from projections.advance import behind
from projections.registry import PROJECTIONS
from projections.tasks import send_advance

logger = logging.getLogger(__name__)

Arrived = asyncio.Queue[AbstractIncomingMessage]


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Forwards until `stop` is set, whatever becomes of RabbitMQ and PostgreSQL meanwhile."""
    engine = create_engine(
        settings, PROJECTOR, application_name="order-service-consumer", pool_size=1
    )
    try:
        await broker.keep_connected(settings, "consumer", partial(_session, engine), stop)
    finally:
        await engine.dispose()


async def _session(engine: AsyncEngine, rabbitmq: AbstractConnection) -> None:
    channel = await broker.open_channel(rabbitmq)
    # The bound of everything that waits here: RabbitMQ sends no more than this unacknowledged.
    await channel.set_qos(prefetch_count=limits.CONSUMER_PREFETCH)
    hints = await broker.declare(channel)
    arrived: Arrived = asyncio.Queue()
    await hints.consume(arrived.put)
    logger.info("consumer: listening")
    await broker.until_first(_forward(arrived), _tick(engine), _watch(channel))


async def _forward(arrived: Arrived) -> None:
    """Whatever has arrived, in one go. If sending fails the session ends, and RabbitMQ delivers
    again what was not acknowledged."""
    while True:
        messages = [await arrived.get()]
        while not arrived.empty():
            messages.append(arrived.get_nowait())
        partitions = sorted(set(_partitions(messages)))
        await send_advance([(name, partition) for name in PROJECTIONS for partition in partitions])
        await messages[-1].ack(multiple=True)


def _partitions(messages: Iterable[AbstractIncomingMessage]) -> Iterable[int]:
    for message in messages:
        try:
            partition = orjson.loads(message.body)["partition"]
            if not isinstance(partition, int) or not 0 <= partition < limits.LOG_PARTITIONS_MAX:
                raise ValueError("partition")
        except (ValueError, LookupError, TypeError):
            # Nothing is lost with it: the log knows what there is.
            logger.warning("consumer: passed over a message that is none of the relay's")
        else:
            yield partition


async def _tick(engine: AsyncEngine) -> None:
    """A task wherever a checkpoint is behind and stood still since the last look: where it moves, a
    worker is at it."""
    seen: dict[tuple[str, int], int] = {}
    while True:
        async with engine.connect() as connection:
            now = {(b.name, b.partition): b.position for b in await behind(connection)}
        await send_advance([hint for hint, position in now.items() if seen.get(hint) == position])
        seen = now
        await asyncio.sleep(limits.TICK_S)


async def _watch(channel: AbstractChannel) -> None:
    """Whatever was deleted is declared again. A queue that was deleted and is back has lost its
    consumer, without a word on this channel: then the session ends, and the next one consumes."""
    while True:
        await asyncio.sleep(limits.TICK_S)
        async with asyncio.timeout(limits.RABBITMQ_CONNECT_TIMEOUT_S):
            hints = await broker.declare(channel)
        if not hints.declaration_result.consumer_count:
            raise ConnectionError(f"{broker.HINT_QUEUE} has lost its consumer")
