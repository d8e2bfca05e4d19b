"""Faults of RabbitMQ: F32 to F42, F47 and F48. Commands continue during each of them: every row
checks that, and the bench checks that their events arrive everywhere afterwards.
"""

import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import aio_pika
import orjson
import psutil
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import ChannelPreconditionFailed

from order_service.infra import rabbitmq
from order_service.stack.servers import VHOST
from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench
from tests.tools.faults.holding import commands_continue, locked_table, repeat
from tests.tools.faults.rows import row

QUEUES = (rabbitmq.HINT_QUEUE, rabbitmq.TASK_QUEUE)
CLOSE_EVERY_S = 5.0
DELETE_EVERY_S = 1.0
PURGE_EVERY_S = 0.05
POISON_EVERY_S = 0.5
KEPT_MAX = 10_000
HUGE_BYTES = 20_000_000
ALL_DISKS = "100000GB"  # more than is free anywhere
ACK_TIMEOUT_MS = 1_000
ACK_TIMEOUT_DEFAULT_MS = (1_800_000, 60_000)  # the timeout, and the interval of its checks
MEMORY_DEFAULT, DISK_DEFAULT = "0.4", "50MB"
EVIDENCE = Path(gettempdir()) / "order-service-unpickled"


@row("F32", "RabbitMQ is stopped, and killed", publishes_fail=True)
async def stopped(bench: Bench) -> None:
    await bench.rabbitmqctl("stop_app")
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        await bench.rabbitmqctl("start_app")
    machine(bench).kill()
    async with commands_continue(bench):
        await bench.hold()


def machine(bench: Bench) -> psutil.Process:
    """The process of Erlang's virtual machine, which runs RabbitMQ."""
    family = psutil.Process(bench.pid("rabbitmq")).children(recursive=True)
    return next(process for process in family if process.name() == "beam.smp")


@row("F33", "RabbitMQ hangs", publishes_fail=True)
async def hung(bench: Bench) -> None:
    process = machine(bench)
    process.suspend()
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        process.resume()


@row("F34", "All connections to RabbitMQ are closed, again and again", publishes_fail=True)
async def closed_connections(bench: Bench) -> None:
    async with commands_continue(bench):
        await repeat(CLOSE_EVERY_S, bench, partial(close_connections, bench))


async def close_connections(bench: Bench) -> None:
    # Without --global it closes those of the virtual host `/`, where the service has none.
    await bench.rabbitmqctl("close_all_connections", "--global", "by a row of the fault matrix")


@row("F35", "The queues are deleted", publishes_fail=True)
async def deleted_queues(bench: Bench) -> None:
    async with commands_continue(bench), amqp(bench) as channel:

        async def delete() -> None:
            for queue in QUEUES:
                await channel.queue_delete(queue)

        await repeat(DELETE_EVERY_S, bench, delete)


@row("F36", "The queues are purged")
async def purged_queues(bench: Bench) -> None:
    async with commands_continue(bench), amqp(bench) as channel:

        async def purge() -> None:
            for name in QUEUES:
                await (await channel.get_queue(name)).purge()

        await repeat(PURGE_EVERY_S, bench, purge)


@row("F37", "The exchange and the binding are deleted", publishes_fail=True)
async def deleted_exchange(bench: Bench) -> None:
    """Without the exchange RabbitMQ closes the relay's channel; without the binding only the
    consumer's tick starts tasks.
    """
    async with commands_continue(bench), amqp(bench) as channel:

        async def delete() -> None:
            if bench.rng.random() < 0.5:
                await channel.exchange_delete(rabbitmq.EVENTS_EXCHANGE)
            else:
                hints = await channel.get_queue(rabbitmq.HINT_QUEUE, ensure=False)
                await hints.unbind(rabbitmq.EVENTS_EXCHANGE, rabbitmq.ALL_EVENTS)

        await repeat(DELETE_EVERY_S, bench, delete)
    await bench.tap.rebind()


@row("F38", "A queue exists with other arguments", publishes_fail=True)
async def wrong_topology(bench: Bench) -> None:
    """RabbitMQ refuses (406) each role that declares the queue; the role logs that and retries."""
    async with amqp(bench) as channel:
        try:
            await eventually(partial(redeclared_wrongly, channel))
            async with commands_continue(bench):
                await bench.hold()
        finally:
            await channel.reopen()
            await channel.queue_delete(rabbitmq.HINT_QUEUE)


async def redeclared_wrongly(channel: AbstractChannel) -> bool:
    """Whether the bench declared the queue before the service did."""
    await channel.queue_delete(rabbitmq.HINT_QUEUE)
    try:
        await channel.declare_queue(rabbitmq.HINT_QUEUE, durable=True)
    except ChannelPreconditionFailed:
        await channel.reopen()
        return False
    return True


@row("F39", "RabbitMQ has no memory left", publishes_fail=True)
async def memory_alarm(bench: Bench) -> None:
    await bench.rabbitmqctl("set_vm_memory_high_watermark", "0")
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        await bench.rabbitmqctl("set_vm_memory_high_watermark", MEMORY_DEFAULT)


@row("F40", "RabbitMQ has no disk left", publishes_fail=True)
async def disk_alarm(bench: Bench) -> None:
    await bench.rabbitmqctl("set_disk_free_limit", ALL_DISKS)
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        await bench.rabbitmqctl("set_disk_free_limit", DISK_DEFAULT)


@row("F41", "Permissions are taken away", publishes_fail=True)
async def no_permissions(bench: Bench) -> None:
    """Of all users. Existing connections are closed: they would keep their permissions."""
    listed = await bench.rabbitmqctl("-q", "list_permissions", "-p", VHOST, "--no-table-headers")
    given = [line.split("\t") for line in listed.splitlines()]
    try:
        for user, *_ in given:
            await bench.rabbitmqctl("clear_permissions", "-p", VHOST, user)
        await close_connections(bench)
        async with commands_continue(bench):
            await bench.hold()
    finally:
        for user, *rights in given:
            await bench.rabbitmqctl("set_permissions", "-p", VHOST, user, *rights)


@row("F42", "Acknowledgements come too late for RabbitMQ", publishes_fail=True)
async def late_acknowledgements(bench: Bench) -> None:
    """Tasks wait for a locked table for longer than RabbitMQ waits for their acknowledgement: it
    closes the worker's channel (406) and delivers the task to another worker.
    """
    await set_ack_timeout(bench, ACK_TIMEOUT_MS, ACK_TIMEOUT_MS)
    try:
        async with locked_table(bench, "read_models.order_view"), commands_continue(bench):
            await bench.hold()
    finally:
        await set_ack_timeout(bench, *ACK_TIMEOUT_DEFAULT_MS)


async def set_ack_timeout(bench: Bench, timeout_ms: int, check_ms: int) -> None:
    """Sets how long RabbitMQ waits for an acknowledgement, and how often it checks that. Closes all
    connections, since only new ones get the settings.
    """
    limits = {"consumer_timeout": timeout_ms, "channel_tick_interval": check_ms}
    calls = (f"application:set_env(rabbit, {name}, {value})" for name, value in limits.items())
    await bench.rabbitmqctl("eval", f"{', '.join(calls)}.")
    await close_connections(bench)


@row("F47", "Messages are poisoned")
async def poisoned(bench: Bench) -> None:
    """In both queues of the service; test_dead_letters.py has poisoned events in the log."""
    async with commands_continue(bench), amqp(bench) as channel:

        async def send() -> None:
            for queue in QUEUES:
                for message in poison():
                    await channel.default_exchange.publish(message, queue)

        await repeat(POISON_EVERY_S, bench, send)
        assert not EVIDENCE.exists(), "the service unpickled a message"


def poison() -> Iterator[Message]:
    task: dict[str, Any] = {"task": "advance", "id": "x", "lang": "py", "argsrepr": "()"}
    event = {"event": "new_order", "partition": 0, "position": 1, "data": {}}
    json = "application/json"
    yield Message(b"")
    yield Message(b"{", content_type=json, headers=task)
    yield Message(b"[[[99, -1]], {}, {}]", content_type=json, headers=task)
    yield Message(b'[["x"], {}, {}]', content_type=json, headers=task | {"task": "unknown"})
    yield Message(b"x" * HUGE_BYTES, content_type=json, headers=task)
    yield Message(pickle.dumps(PickleBomb()), content_type="application/x-python-serialize")
    yield Message(orjson.dumps(event | {"event": "never_heard_of"}), content_type=json)
    yield Message(orjson.dumps(event | {"schema_version": 99}), content_type="text/plain")


class PickleBomb:
    """Makes the file EVIDENCE if a process unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (EVIDENCE,)


@row("F48", "Messages are doubled, delayed and lost")
async def meddled_messages(bench: Bench) -> None:
    """The bench consumes some messages of the service's queues. It returns each of them twice, once
    or never, at once or at the end. (Twice is rarer than never, so there is no flood.)
    """
    kept: list[tuple[str, AbstractIncomingMessage]] = []
    async with commands_continue(bench), amqp(bench) as channel:

        async def meddle(queue: str, message: AbstractIncomingMessage) -> None:
            for _ in range(bench.rng.choice((0, 0, 1, 2))):
                if bench.rng.random() < 0.5 and len(kept) < KEPT_MAX:
                    kept.append((queue, message))
                else:
                    await channel.default_exchange.publish(message, queue)

        consumers = [await channel.get_queue(name) for name in QUEUES]
        tags = [
            await queue.consume(partial(meddle, queue.name), no_ack=True) for queue in consumers
        ]
        await bench.hold()
        for queue, tag in zip(consumers, tags, strict=True):
            await queue.cancel(tag)
        for name, message in kept:
            await channel.default_exchange.publish(message, name)


@asynccontextmanager
async def amqp(bench: Bench) -> AsyncIterator[AbstractChannel]:
    """A separate channel, without the proxy."""
    connection = await aio_pika.connect(
        host=bench.settings["RABBITMQ_HOST"],
        port=int(bench.settings["RABBITMQ_PORT"]),
        login=bench.settings["RABBITMQ_USER"],
        password=bench.settings["RABBITMQ_PASSWORD"],
        virtualhost=VHOST,
    )
    async with connection:
        yield await connection.channel()
