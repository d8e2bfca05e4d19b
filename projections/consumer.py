"""The consumer: turns messages into tasks, and finds what no message told. May import tasks,
advance, the registry, and from order_service broker, db, log, settings.

A message is a hint that its partition has moved on. What has arrived is gathered, one task a
projection and partition is sent, and only when RabbitMQ has them are the messages acknowledged. A
send that fails ends the session; the messages, unacknowledged, come again to the next one.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial

import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import broker
from order_service import settings as limits
from order_service.db import PROJECTOR, create_engine
from order_service.log.reading import heads
from order_service.settings import Settings
from projections.advance import Behind, behind
from projections.registry import PROJECTIONS
from projections.tasks import TaskSender

logger = logging.getLogger(__name__)

Arrivals = asyncio.Queue[AbstractIncomingMessage]  # bounded by the channel's prefetch


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Sends tasks until `stop` is set, whatever becomes of RabbitMQ and PostgreSQL meanwhile."""
    engine = create_engine(settings, PROJECTOR, application_name="consumer", pool_size=1)
    sender = TaskSender(settings)
    try:
        session = partial(_session, engine, sender, stop)
        await broker.keep_connected(settings, "consumer", session, stop)
    finally:
        sender.close()
        await engine.dispose()


async def _session(
    engine: AsyncEngine, sender: TaskSender, stop: asyncio.Event, rabbitmq: AbstractConnection
) -> None:
    async with engine.connect() as connection:
        partitions = range(len(await heads(connection)))
    arrivals: Arrivals = asyncio.Queue()
    channel = await broker.open_channel(rabbitmq)
    canceled = await _consume(channel, arrivals)
    logger.info("consumer: consuming")
    await broker.until_first(
        _forward(arrivals, partitions, sender),
        _tick(engine, sender),
        _raise_when(canceled),
        stop.wait(),  # no batch need be finished: its messages come again
    )


async def _consume(channel: AbstractChannel, arrivals: Arrivals) -> asyncio.Event:
    """Messages arrive from now on, until the event is set: RabbitMQ has closed the channel, or
    cancels the consumer because its queue was deleted. Neither shows in any other way."""
    canceled = asyncio.Event()
    channel.close_callbacks.add(lambda *_: canceled.set())
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _: canceled.set())
    await channel.set_qos(prefetch_count=limits.CONSUMER_PREFETCH)
    queue = await broker.declare(channel)
    await queue.consume(arrivals.put)
    return canceled


async def _raise_when(canceled: asyncio.Event) -> None:
    await canceled.wait()
    raise ConnectionError("RabbitMQ ended the consumption of hints")


async def _forward(arrivals: Arrivals, partitions: Collection[int], sender: TaskSender) -> None:
    while True:
        batch = [await arrivals.get()]
        while not arrivals.empty():
            batch.append(arrivals.get_nowait())
        moved = _moved_on(batch, partitions)
        await sender.send_advance(moved)
        # They arrived in order, so this acknowledges the whole batch.
        await batch[-1].ack(multiple=True)


def _moved_on(batch: Sequence[AbstractIncomingMessage], partitions: Collection[int]) -> list[int]:
    """The partitions that the messages speak of, each once."""
    told = [_partition(message.body) for message in batch]
    known = [partition for partition in told if partition is not None and partition in partitions]
    if len(known) < len(told):
        # Nothing is lost by that: whatever they meant to say stands in the log.
        logger.warning("consumer: %d messages are not events of this log", len(told) - len(known))
    return sorted(set(known))


def _partition(body: bytes) -> int | None:
    """The partition in a message of ours; None if it is not one."""
    if len(body) > limits.HINT_BYTES_MAX:
        return None
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    partition = message.get("partition") if isinstance(message, dict) else None
    return partition if type(partition) is int else None


async def _tick(engine: AsyncEngine, sender: TaskSender) -> None:
    """Sends what nobody told: where a checkpoint is behind and stands where it stood a tick ago.
    One that moves has a worker already."""
    before: set[tuple[str, int, int]] = set()
    while True:
        await asyncio.sleep(limits.TICK_S)
        async with engine.connect() as connection:
            now = {_place(found) for found in await behind(connection) if found.name in PROJECTIONS}
        await sender.send_advance({partition for _, partition, _ in now & before})
        before = now


def _place(found: Behind) -> tuple[str, int, int]:
    return found.name, found.partition, found.position
