"""RabbitMQ: the exchange, the queues, and sessions that reconnect.

This is the only module that names exchanges and queues. Every process declares all of them,
idempotently, on every new channel, so that a deleted one is created again.

- `orders.events`, a durable topic exchange, receives every event of the log with the routing key
  `order.<event>`. Other consumers may bind their own queues to it. Such a queue must not use
  `reject-publish`: the relay continues only when every queue has accepted a message.
- `orders.projections`, bound to all events, and `orders.tasks`, Celery's queue, hold hints. The log
  and the checkpoints are the source of truth, and the consumer's tick finds events without a hint.
  So both queues are bounded and drop their oldest message, with no dead-letter exchange. (Celery
  adds a direct exchange with its queue's name, which is unused, and queues for remote control,
  which Flower uses.)
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

_HINT_ARGUMENTS: dict[str, Any] = {
    # Explicit, since a virtual host may have another default. projections/worker/tasks.py explains
    # why these are no quorum queues.
    "x-queue-type": "classic",
    "x-overflow": "drop-head",
}
HINT_QUEUE_ARGUMENTS: dict[str, Any] = {
    **_HINT_ARGUMENTS,
    "x-max-length": 1,  # one hint is enough: it causes a look at the whole log
}
TASK_QUEUE_ARGUMENTS: dict[str, Any] = {
    **_HINT_ARGUMENTS,
    "x-max-length": limits.TASK_QUEUE_LENGTH_MAX,
    # The queue expires tasks, by the broker's clock alone; Celery's `expires` would compare the
    # clocks of two machines.
    "x-message-ttl": limits.TASK_EXPIRES_S * 1000,
}


def broker_url(settings: Settings) -> str:
    """The broker's URL, for Celery; every part is quoted, so a password may have any character."""
    user, password = quote(settings.RABBITMQ_USER, ""), quote(settings.RABBITMQ_PASSWORD, "")
    host = (
        f"[{settings.RABBITMQ_HOST}]" if ":" in settings.RABBITMQ_HOST else settings.RABBITMQ_HOST
    )
    vhost = quote(settings.RABBITMQ_VHOST, "")
    return f"amqp://{user}:{password}@{host}:{settings.RABBITMQ_PORT}/{vhost}"


async def connect(settings: Settings, name: str) -> AbstractConnection:
    """Opens a plain connection, not aio-pika's robust one, which restores itself in the background:
    the publisher must learn that the outcome of its unconfirmed messages is unknown."""
    async with asyncio.timeout(limits.RABBITMQ_CONNECT_TIMEOUT_S):
        return await aio_pika.connect(
            host=settings.RABBITMQ_HOST,
            port=settings.RABBITMQ_PORT,
            login=settings.RABBITMQ_USER,
            password=settings.RABBITMQ_PASSWORD,
            virtualhost=settings.RABBITMQ_VHOST,
            heartbeat=limits.RABBITMQ_HEARTBEAT_S,  # a hung broker is detected in 33 s
            name=f"order-service {name}",
        )


async def handshake(settings: Settings) -> None:
    """Returns when RabbitMQ has answered the protocol header: an open port alone proves nothing.
    Raises OSError, EOFError; may hang."""
    reader, writer = await asyncio.open_connection(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT)
    try:
        writer.write(_AMQP_HEADER)
        await reader.readexactly(7)  # the frame header of Connection.Start
    finally:
        writer.close()


async def open_channel(connection: AbstractConnection) -> AbstractChannel:
    """A channel with all queues declared, on which an unroutable or refused message is an error."""
    async with asyncio.timeout(limits.RABBITMQ_CONNECT_TIMEOUT_S):
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await declare(channel)
    return channel


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Declares everything and returns the queue of hints. A queue or exchange that exists with
    other arguments closes the channel (406)."""
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
    """Runs `session` on a new connection, again after each failure, until `stop` is set.

    Every failure of RabbitMQ or PostgreSQL is handled alike: the session ends, its connection is
    closed, and after a back-off a new session starts from what is stored. A session leaves no
    state in memory.
    """
    failures = 0
    while not stop.is_set():
        started = time.monotonic()
        try:
            await _run_until(stop, _connected(settings, name, session))
        # Every error on purpose: drivers raise their own errors, OSError, TimeoutError, even
        # RuntimeError, and the process must go on after each of them.
        except Exception as error:
            if time.monotonic() - started > limits.RECONNECT_BACKOFF_S[-1]:
                failures = 0  # the session had worked
            wait_s = limits.RECONNECT_BACKOFF_S[min(failures, len(limits.RECONNECT_BACKOFF_S) - 1)]
            failures += 1
            SESSIONS[name].inc()
            logger.warning("%s: %r; reconnecting in %.1f s", name, error, wait_s)
            logger.debug("%s: the session failed", name, exc_info=True)
            await _run_until(stop, asyncio.sleep(wait_s), grace_s=0)


async def _connected(settings: Settings, name: str, session: Session) -> None:
    async with _connection(settings, name) as (connection, lost):
        await until_first(session(connection), _raise_when(lost))


async def until_first(*awaitables: Awaitable[object]) -> None:
    """Runs all of them until one ends, cancels the others, and raises that one's error."""
    tasks = [asyncio.ensure_future(work) for work in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task.cancelled():
            # aiormq cancels the calls that wait on a channel when it closes it. Raised as a
            # cancellation, that would look like a request to stop the process.
            raise ConnectionError("the connection cancelled a call that waited on it")
        task.result()


async def _run_until(
    stop: asyncio.Event, work: Awaitable[object], grace_s: float = limits.STOP_GRACE_S
) -> None:
    """Runs `work`; once `stop` is set, `work` has `grace_s` to end before it is cancelled."""

    async def stopped() -> None:
        await stop.wait()
        await asyncio.sleep(grace_s)

    await until_first(work, stopped())


async def _raise_when(lost: asyncio.Event) -> None:
    await lost.wait()
    raise ConnectionError("the connection to RabbitMQ was closed")


async def queues(settings: Settings) -> list[dict[str, Any]]:
    """The name, messages and consumers of each of our queues, on a new connection. A missing queue
    is an error, since nothing is declared."""
    async with _connection(settings, "health") as (connection, _):
        channel = await connection.channel()
        results = [
            (await channel.declare_queue(name, passive=True)).declaration_result
            for name in (HINT_QUEUE, TASK_QUEUE)
        ]
    return [
        {"name": one.queue, "messages": one.message_count, "consumers": one.consumer_count}
        for one in results
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
        # A hung or alarmed broker never answers a close; missed heartbeats end the connection.
        try:
            async with asyncio.timeout(limits.RABBITMQ_CLOSE_TIMEOUT_S):
                await connection.close()
        except Exception as error:
            logger.debug("%s: cannot close the connection: %r", name, error)
