"""RabbitMQ: version, exchange and queues as declared, and at least one consumer of each queue."""

from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection, ExchangeType
from aio_pika.exceptions import ChannelClosed, ChannelNotFoundEntity

from order_service.infra import rabbitmq
from order_service.settings import Settings
from projections.monitoring.checks.check import Finding, finding, version_of

VERSION_MIN = (3, 10)
Declare = Callable[
    [AbstractChannel, bool], Awaitable[Any]
]  # channel, passive: passive only checks that it exists
_MISSING = (
    "Relay and consumer declare it when they start: check that they run, and read their logs."
)
_DIFFERENT = "Stop relay, consumer and worker, delete it, and start them: they declare it again."


async def greets(settings: Settings) -> list[Finding]:
    await rabbitmq.handshake(settings)
    return []


async def server(connection: AbstractConnection) -> list[Finding]:
    return [
        _version(connection),
        await _exchange(connection),
        *await _queue(connection, rabbitmq.HINT_QUEUE, rabbitmq.HINT_QUEUE_ARGUMENTS, "consumer"),
        *await _queue(connection, rabbitmq.TASK_QUEUE, rabbitmq.TASK_QUEUE_ARGUMENTS, "worker"),
    ]


def _version(connection: AbstractConnection) -> Finding:
    properties = connection.transport.connection.server_properties if connection.transport else {}
    version = str(properties.get("version", "?"))
    return finding(
        "RabbitMQ version",
        version_of(version) >= VERSION_MIN,
        version,
        f"{'.'.join(map(str, VERSION_MIN))} or newer",
        f"Install RabbitMQ {'.'.join(map(str, VERSION_MIN))} or newer.",
    )


async def _exchange(connection: AbstractConnection) -> Finding:
    async def declare(channel: AbstractChannel, passive: bool) -> None:
        await channel.declare_exchange(
            rabbitmq.EVENTS_EXCHANGE, ExchangeType.TOPIC, durable=True, passive=passive
        )

    found, _ = await _declared(connection, declare)
    return _as_declared(f"exchange {rabbitmq.EVENTS_EXCHANGE}", found, "topic, durable")


async def _queue(
    connection: AbstractConnection, name: str, arguments: dict[str, Any], role: str
) -> list[Finding]:
    async def declare(channel: AbstractChannel, passive: bool) -> Any:
        queue = await channel.declare_queue(
            name, durable=True, arguments=None if passive else arguments, passive=passive
        )
        return queue.declaration_result

    found, declaration = await _declared(connection, declare)
    declared = _as_declared(f"queue {name}", found, "classic, durable, bounded, drops its oldest")
    if declaration is None:
        return [declared]
    return [
        declared,
        finding(
            f"queue {name} is read",
            declaration.consumer_count > 0,
            f"{declaration.consumer_count} consumers, {declaration.message_count} messages",
            f"at least one {role}",
            f"Start the {role}, and read its log.",
        ),
    ]


async def _declared(connection: AbstractConnection, declare: Declare) -> tuple[str, Any]:
    """`as declared`, `missing`, or RabbitMQ's text on what differs; and the declaration's result.

    Nothing is created: the object is declared only if it exists, and then a declaration changes
    nothing.
    """
    try:
        channel = await connection.channel()
        found = await declare(channel, True)
        await declare(channel, False)
    except ChannelNotFoundEntity:
        return "missing", None
    except ChannelClosed as error:
        return str(error), None
    await channel.close()
    return "as declared", found


def _as_declared(check: str, found: str, expected: str) -> Finding:
    remedy = _MISSING if found == "missing" else _DIFFERENT
    return finding(check, found == "as declared", found, expected, remedy)
