"""RabbitMQ: what exists there, and a connection that comes back.

The only place that names exchanges and queues. Everything is declared idempotently, by every
process, on every new channel, so that whatever was deleted comes back.

- `orders.events`, a durable topic exchange: every event of the log, routed by `order.<event>`.
  Other consumers bind queues of their own to it; such a queue must not use `reject-publish`, since
  the relay goes on only when every queue has taken a message.
- `orders.projections`, bound to all of them, and `orders.tasks`, Celery's, hold hints: the log and
  the checkpoints know better, and the consumer's tick finds what no hint told. So they are bounded
  and drop their oldest, with no dead-letter exchange. (Celery adds a direct exchange of its queue's
  name, which nothing uses, and queues for remote control, which Flower uses.)
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue, ExchangeType

from order_service import limits
from order_service.settings import Settings
from order_service.telemetry.metrics import SESSIONS

logger = logging.getLogger(__name__)

Session = Callable[[AbstractConnection], Awaitable[None]]

EVENTS_EXCHANGE = "orders.events"
HINT_QUEUE = "orders.projections"
TASK_QUEUE = "orders.tasks"
ALL_EVENTS = "order.#"
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"

_HINTS: dict[str, Any] = {
    # Said explicitly, since a virtual host may have another default. Why not quorum queues: see
    # projections/worker/tasks.py.
    "x-queue-type": "classic",
    "x-overflow": "drop-head",
}
HINT_QUEUE_ARGUMENTS: dict[str, Any] = {
    **_HINTS,
    "x-max-length": 1,  # the newest says what all before it said: look
}
TASK_QUEUE_ARGUMENTS: dict[str, Any] = {
    **_HINTS,
    "x-max-length": limits.TASK_QUEUE_LENGTH_MAX,
    # The queue lets tasks expire, by the broker's clock alone; Celery's `expires` would compare the
    # clocks of two machines.
    "x-message-ttl": limits.TASK_EXPIRES_S * 1000,
}


def broker_url(settings: Settings) -> str:
    """For Celery; every part is quoted, so that no character of a password can be mistaken."""
    user, password = quote(settings.RABBITMQ_USER, ""), quote(settings.RABBITMQ_PASSWORD, "")
    host = (
        f"[{settings.RABBITMQ_HOST}]" if ":" in settings.RABBITMQ_HOST else settings.RABBITMQ_HOST
    )
    vhost = quote(settings.RABBITMQ_VHOST, "")
    return f"amqp://{user}:{password}@{host}:{settings.RABBITMQ_PORT}/{vhost}"


async def connect(settings: Settings, name: str) -> AbstractConnection:
    """A plain connection, not aio-pika's robust one: that restores itself in the background while
    publishes fail, and whoever publishes must know that what was in flight is unknown."""
    async with asyncio.timeout(limits.RABBITMQ_CONNECT_TIMEOUT_S):
        return await aio_pika.connect(
            host=settings.RABBITMQ_HOST,
            port=settings.RABBITMQ_PORT,
            login=settings.RABBITMQ_USER,
            password=settings.RABBITMQ_PASSWORD,
            virtualhost=settings.RABBITMQ_VHOST,
            heartbeat=limits.RABBITMQ_HEARTBEAT_S,  # a hung broker is given up after 33 s
            name=f"order-service {name}",
        )


async def greet(settings: Settings) -> None:
    """RabbitMQ accepts and speaks: it answers the protocol header, which a mere open port does
    not. Raises OSError, EOFError; may hang."""
    reader, writer = await asyncio.open_connection(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT)
    try:
        writer.write(_AMQP_HEADER)
        await reader.readexactly(7)  # the frame header of Connection.Start
    finally:
        writer.close()


async def open_channel(connection: AbstractConnection) -> AbstractChannel:
    """A channel on which an unroutable or refused message is an error, with all declared."""
    async with asyncio.timeout(limits.RABBITMQ_CONNECT_TIMEOUT_S):
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await declare(channel)
    return channel


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Everything exists; returns the queue of hints. What exists with other arguments closes the
    channel (406)."""
    exchange = await channel.declare_exchange(EVENTS_EXCHANGE, ExchangeType.TOPIC, durable=True)
    hints = await channel.declare_queue(HINT_QUEUE, durable=True, arguments=HINT_QUEUE_ARGUMENTS)
    await hints.bind(exchange, ALL_EVENTS)
    await channel.declare_queue(TASK_QUEUE, durable=True, arguments=TASK_QUEUE_ARGUMENTS)
    return hints


async def keep_connected(
    settings: Settings,
    name: str,
    session: Session,
    stop: asyncio.Event,
) -> None:
    """Runs `session` on a new connection again and again, with back-off, until `stop` is set.

    There is one answer to every failure of RabbitMQ or PostgreSQL: end the session, close the
    connection, start anew from what is stored. A session keeps nothing that outlives it.
    """
    failures = 0
    while not stop.is_set():
        started = time.monotonic()
        try:
            await _run_until(stop, _connected(settings, name, session))
        # Deliberately everything: drivers raise their own errors, OSError, TimeoutError, even
        # RuntimeError, and a process that must never lose its place has nowhere better to go.
        except Exception as error:
            if time.monotonic() - started > limits.RECONNECT_BACKOFF_S[-1]:
                failures = 0  # it had been well
            wait_s = limits.RECONNECT_BACKOFF_S[min(failures, len(limits.RECONNECT_BACKOFF_S) - 1)]
            failures += 1
            SESSIONS[name].inc()
            logger.warning("%s: %r; starting again in %.1f s", name, error, wait_s)
            logger.debug("%s: the session's end", name, exc_info=True)
            await _run_until(stop, asyncio.sleep(wait_s), grace_s=0)


async def _connected(settings: Settings, name: str, session: Session) -> None:
    async with _connection(settings, name) as (connection, lost):
        await until_first(session(connection), _raise_when(lost))


async def until_first(*works: Awaitable[object]) -> None:
    """Runs all until one of them ends; the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task.cancelled():
            # Not by us: aiormq cancels what waits on a channel that it closes. Passed on, that
            # would end the process as if somebody had asked for it.
            raise ConnectionError("cancelled by the connection that it waited for")
        task.result()


async def _run_until(
    stop: asyncio.Event, work: Awaitable[object], grace_s: float = limits.STOP_GRACE_S
) -> None:
    """`work`, which is left `grace_s` to end by itself once `stop` is set, then cancelled."""

    async def stopped() -> None:
        await stop.wait()
        await asyncio.sleep(grace_s)

    await until_first(work, stopped())


async def _raise_when(lost: asyncio.Event) -> None:
    await lost.wait()
    raise ConnectionError("the connection to RabbitMQ was closed")


async def queues(settings: Settings) -> list[dict[str, Any]]:
    """Name, messages and consumers of each queue of ours, by a connection of its own. Nothing is
    declared: a queue that is gone is an error."""
    async with _connection(settings, "health") as (connection, _):
        channel = await connection.channel()
        found = [
            (await channel.declare_queue(name, passive=True)).declaration_result
            for name in (HINT_QUEUE, TASK_QUEUE)
        ]
    return [
        {"name": one.queue, "messages": one.message_count, "consumers": one.consumer_count}
        for one in found
    ]


@asynccontextmanager
async def _connection(
    settings: Settings, name: str
) -> AsyncIterator[tuple[AbstractConnection, asyncio.Event]]:
    connection = await connect(settings, name)
    lost = asyncio.Event()
    connection.close_callbacks.add(lambda *_: lost.set())
    try:
        yield connection, lost
    finally:
        # A hung or alarmed broker never answers a close; its heartbeats will end what is left.
        try:
            async with asyncio.timeout(limits.RABBITMQ_CLOSE_TIMEOUT_S):
                await connection.close()
        except Exception as error:
            logger.debug("%s: closing the connection: %r", name, error)
