"""The consumer: turns messages into tasks, and finds what no message told.

A message is a hint that the log has moved on, and says so whatever is in it: one statement tells
which partitions are behind. So the queue keeps the newest message alone, and RabbitMQ throws away
what came before it: with each of them received, and a task a projection, this process took 350
microseconds an order at 1,000 orders a second, now 70. A message is acknowledged when its task is
with RabbitMQ. A send that fails ends the session; the message, unacknowledged, comes again to the
next one. What operators ask for (`operator_requests`) is looked for once a tick.
"""

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial

import asyncpg
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra import failpoints
from order_service.infra import rabbitmq as broker
from order_service.infra.heartbeat import heartbeat
from order_service.infra.postgres import PROJECTOR, create_engine, driver_connection
from order_service.settings import Settings
from order_service.telemetry import tracing
from order_service.telemetry.exposition import exposed
from order_service.telemetry.metrics import HINTS
from projections.loop.checkpoints import Behind, behind
from projections.monitoring import lag_metrics
from projections.operators import requests
from projections.worker.tasks import TaskSender

logger = logging.getLogger(__name__)

Arrivals = asyncio.Queue[AbstractIncomingMessage]  # bounded by the channel's prefetch


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Sends tasks until `stop` is set, whatever becomes of RabbitMQ and PostgreSQL meanwhile."""
    # One connection looks who is behind, and one whoever asks for the metrics.
    engine = create_engine(settings, PROJECTOR, application_name="consumer", pool_size=2)
    sender = TaskSender(settings)
    tracing.start(settings, "consumer")
    try:
        session = partial(_session, engine, sender, stop)
        async with (
            exposed(settings, "consumer", partial(lag_metrics.look, engine)),
            heartbeat(settings, "consumer"),
        ):
            await broker.keep_connected(settings, "consumer", session, stop)
    finally:
        tracing.stop()
        sender.close()
        await engine.dispose()


async def _session(
    engine: AsyncEngine, sender: TaskSender, stop: asyncio.Event, rabbitmq: AbstractConnection
) -> None:
    arrivals: Arrivals = asyncio.Queue()
    channel = await broker.open_channel(rabbitmq)
    async with driver_connection(engine) as (_, driver):
        canceled = await _consume(channel, arrivals)
        logger.info("consumer: consuming")
        await broker.until_first(
            _forward(arrivals, driver, sender),
            _raise_when(canceled),
            stop.wait(),  # no task need be sent: the message comes again
        )


async def _consume(channel: AbstractChannel, arrivals: Arrivals) -> asyncio.Event:
    """Messages arrive from now on, until the event is set: RabbitMQ has closed the channel, or
    cancels the consumer because its queue was deleted. Neither shows in any other way."""
    canceled = asyncio.Event()
    channel.close_callbacks.add(lambda *_: canceled.set())
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _: canceled.set())
    await channel.set_qos(prefetch_count=1)
    queue = await broker.declare(channel)
    await queue.consume(arrivals.put)
    return canceled


async def _raise_when(canceled: asyncio.Event) -> None:
    await canceled.wait()
    raise ConnectionError("RabbitMQ ended the consumption of hints")


async def _forward(arrivals: Arrivals, driver: asyncpg.Connection, sender: TaskSender) -> None:
    before: set[Behind] = set()
    ask_at = 0.0
    while True:
        message = await _next(arrivals)
        if message:
            await failpoints.reach("consumer-received")
        now = {*await behind(driver)}
        request_id = message.correlation_id if message else None
        parent = _traceparent(message) if message else None
        with tracing.span("hint", "CONSUMER", parent):
            if needs_task(now, before, told=message is not None):
                await sender.send_advance(request_id)
        before = now
        if time.monotonic() >= ask_at:  # not at each hint: operators can wait for a tick
            ask_at = time.monotonic() + limits.TICK_S
            if await requests.any_waiting(driver):
                await sender.send_serve_operators()
        if message:
            HINTS.inc()
            await failpoints.reach("consumer-sent")
            await message.ack()
            # What comes meanwhile is one hint.
            await asyncio.sleep(limits.HINT_INTERVAL_S)


def needs_task(now: set[Behind], before: set[Behind], *, told: bool) -> bool:
    """Whether a checkpoint is behind that nobody works on, of those found now and a look ago. Where
    no message told: one that stands where it stood. What moves has a worker already."""
    return any(found.free for found in now) if told else bool(now & before)


def _traceparent(message: AbstractIncomingMessage) -> str | None:
    field = message.headers.get("traceparent")
    return tracing.traceparent_of(field) if isinstance(field, str) else None


async def _next(arrivals: Arrivals) -> AbstractIncomingMessage | None:
    """The next message; None if none comes for a tick."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.TICK_S):
            return await arrivals.get()
    return None
