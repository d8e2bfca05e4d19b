"""The consumer: turns messages into tasks, and on a tick finds work that no message announced.

A message is a hint that the log has grown, whatever its content: one statement finds the
checkpoints that are behind. So the queue keeps only the newest message, and RabbitMQ drops older
ones. This takes 70 microseconds an order at 1,000 orders a second; to receive each message and send
a task for each projection took 350. A message is acknowledged once RabbitMQ has confirmed its task.
A failed send ends the session; RabbitMQ redelivers the unacknowledged message in the next one. Once
a tick the consumer looks for operators' requests (`operators.requests`).
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
    """Sends tasks until `stop` is set; survives outages of RabbitMQ and PostgreSQL."""
    # One connection finds checkpoints that are behind, one reads the metrics.
    engine = create_engine(settings, PROJECTOR, application_name="consumer", pool_size=2)
    sender = TaskSender(settings)
    tracing.start(settings, "consumer")
    try:
        session = partial(_session, engine, sender, stop)
        async with (
            exposed(settings, "consumer", partial(lag_metrics.update, engine)),
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
            stop.wait(),  # no task need be sent: the message is redelivered
        )


async def _consume(channel: AbstractChannel, arrivals: Arrivals) -> asyncio.Event:
    """Messages are put into `arrivals`. The returned event is set when RabbitMQ closes the channel,
    or cancels the consumer because the queue was deleted; nothing else reports either."""
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
    raise ConnectionError("RabbitMQ closed the channel or deleted the queue of hints")


async def _forward(arrivals: Arrivals, driver: asyncpg.Connection, sender: TaskSender) -> None:
    before: set[Behind] = set()
    next_request_check = 0.0
    while True:
        message = await _next_message(arrivals)
        if message:
            await failpoints.reach("consumer-received")
        now = {*await behind(driver)}
        request_id = message.correlation_id if message else None
        parent = _traceparent(message) if message else None
        with tracing.span("hint", "CONSUMER", parent):
            if needs_task(now, before, hinted=message is not None):
                await sender.send_advance(request_id)
        before = now
        if time.monotonic() >= next_request_check:  # once a tick is often enough for operators
            next_request_check = time.monotonic() + limits.TICK_S
            if await requests.any_waiting(driver):
                await sender.send_serve_operators()
        if message:
            HINTS.inc()
            await failpoints.reach("consumer-sent")
            await message.ack()
            # All messages that arrive meanwhile are merged into one hint.
            await asyncio.sleep(limits.HINT_INTERVAL_S)


def needs_task(now: set[Behind], before: set[Behind], *, hinted: bool) -> bool:
    """Whether a checkpoint is behind that no worker moves. `now`, `before`: those behind in this
    pass and in the previous one. After a hint: one that is not locked. On a tick: one that has not
    moved since the previous pass."""
    return any(one.free for one in now) if hinted else bool(now & before)


def _traceparent(message: AbstractIncomingMessage) -> str | None:
    field = message.headers.get("traceparent")
    return tracing.traceparent_of(field) if isinstance(field, str) else None


async def _next_message(arrivals: Arrivals) -> AbstractIncomingMessage | None:
    """The next message; None if none arrives within a tick."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.TICK_S):
            return await arrivals.get()
    return None
