"""Messages become tasks, and the tick finds events without a message: M5, M7, F35, F47, F48."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Queue
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq as broker
from order_service.settings import Settings
from projections.loop.checkpoints import Behind
from projections.worker import consumer
from tests.support.hostile.messages import hints as hostile
from tests.support.log.examples import PLACED
from tests.support.log.given_log import given_order
from tests.support.servers.pipeline import running, through
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import eventually


async def publish_hints(rabbitmq: AbstractChannel, *bodies: bytes) -> None:
    exchange = await rabbitmq.get_exchange(broker.EVENTS_EXCHANGE)
    for body in bodies:
        await exchange.publish(Message(body), "order.new_order")


@pytest.fixture
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tick never fires: only messages cause tasks."""
    monkeypatch.setattr("order_service.limits.TICK_S", 60.0)


async def take_task(rabbitmq: AbstractChannel) -> None:
    """A task has arrived and is removed from the queue."""
    queue = await rabbitmq.get_queue(broker.TASK_QUEUE)

    async def was_taken() -> bool:
        message = await queue.get(no_ack=True, fail=False)
        assert message is None or message.headers["task"] == "advance"
        return message is not None

    await eventually(was_taken)


async def declared(rabbitmq: AbstractChannel, name: str) -> Queue.DeclareOk | None:
    """The declaration of an existing queue; None if the queue does not exist."""
    try:
        queue = await rabbitmq.declare_queue(name, passive=True)
    except ChannelNotFoundEntity:
        await rabbitmq.reopen()  # the error has closed the channel
        return None
    return queue.declaration_result


async def depth(rabbitmq: AbstractChannel, name: str) -> int:
    found = await declared(rabbitmq, name)
    return (found and found.message_count) or 0


async def consuming(rabbitmq: AbstractChannel) -> None:
    async def has_consumer() -> bool:
        found = await declared(rabbitmq, broker.HINT_QUEUE)
        return found is not None and found.consumer_count == 1

    await eventually(has_consumer)


@asynccontextmanager
async def running_consumer(
    settings: Settings, rabbitmq: AbstractChannel
) -> AsyncIterator[AbstractChannel]:
    await broker.declare(rabbitmq)
    async with running(consumer.run, settings):
        await consuming(rabbitmq)
        yield rabbitmq


@pytest.mark.usefixtures("no_tick")
async def test_a_message_becomes_a_task_for_what_is_behind(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    async with running_consumer(settings, rabbitmq):
        await given_order(web_engine, PLACED, partition=1)
        await publish_hints(rabbitmq, b"1")
        await take_task(rabbitmq)


@pytest.mark.usefixtures("no_tick")
async def test_waiting_messages_become_one_task(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    await broker.declare(rabbitmq)
    await given_order(web_engine, PLACED, partition=1)
    await publish_hints(rabbitmq, *[b"n"] * 300)

    async with running_consumer(settings, rabbitmq):
        await take_task(rabbitmq)

    assert await depth(rabbitmq, broker.TASK_QUEUE) == 0


@pytest.mark.usefixtures("no_tick")
async def test_the_last_of_the_messages_that_arrive_during_work_is_received(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    """The prefetch limit is one message, so this also proves that each was acknowledged."""
    async with running_consumer(settings, rabbitmq):
        for _ in range(20):
            await publish_hints(rabbitmq, b"early", b"", b"[" * 100_000)
        await given_order(web_engine, PLACED, partition=1)
        await publish_hints(rabbitmq, b"last")
        await take_task(rabbitmq)


@pytest.mark.usefixtures("no_tick")
async def test_a_message_is_a_hint_whatever_its_content(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    async with running_consumer(settings, rabbitmq):
        for message in hostile():
            await rabbitmq.default_exchange.publish(message, broker.HINT_QUEUE)
        await given_order(web_engine, PLACED, partition=1)
        await publish_hints(rabbitmq, b"1")
        await take_task(rabbitmq)


async def test_the_tick_finds_events_without_a_message(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    await given_order(web_engine, PLACED, partition=1)

    async with running_consumer(settings, rabbitmq):
        await take_task(rabbitmq)


def test_a_tick_ignores_moving_checkpoints_and_a_hint_ignores_locked_ones() -> None:
    still, moved = Behind("order_view", 1, 7, free=True), Behind("order_view", 1, 8, free=True)
    held = Behind("order_view", 1, 7, free=False)

    assert consumer.needs_task({still}, {still}, hinted=False)
    assert not consumer.needs_task({moved}, {still}, hinted=False)
    assert not consumer.needs_task(set(), {still}, hinted=False)
    assert consumer.needs_task({moved}, {still}, hinted=True)
    assert not consumer.needs_task({held}, {still}, hinted=True)
    assert consumer.needs_task({held}, {still}, hinted=False)  # its holder has stopped moving


@pytest.mark.usefixtures("no_tick")
async def test_a_deleted_queue_of_hints_is_declared_and_consumed_again(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    await given_order(web_engine, PLACED, partition=1)
    async with running_consumer(settings, rabbitmq):
        await rabbitmq.queue_delete(broker.HINT_QUEUE)
        await consuming(rabbitmq)
        await publish_hints(rabbitmq, b"1")
        await take_task(rabbitmq)


async def test_a_task_for_a_deleted_queue_is_sent_again(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    """RabbitMQ confirms such a task, but returns it first."""
    await given_order(web_engine, PLACED, partition=1)
    async with running_consumer(settings, rabbitmq):
        await publish_hints(rabbitmq, b"1")
        await take_task(rabbitmq)
        await rabbitmq.queue_delete(broker.TASK_QUEUE)
        await publish_hints(rabbitmq, b"1")

        async def has_task() -> bool:
            return await depth(rabbitmq, broker.TASK_QUEUE) >= 1

        await eventually(has_task)
        await take_task(rabbitmq)


@pytest.mark.usefixtures("no_tick")
async def test_a_message_whose_task_cannot_be_sent_is_redelivered(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    """The message stays unacknowledged until the consumer is connected again."""
    await given_order(web_engine, PLACED, partition=1)
    async with (
        proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy,
        running_consumer(through(proxy, settings), rabbitmq),
    ):
        proxy.cut()
        await publish_hints(rabbitmq, b"1")
        await take_task(rabbitmq)


@pytest.mark.usefixtures("no_tick")
async def test_a_consumer_that_stops_leaves_its_messages_to_the_next(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    async with running_consumer(settings, rabbitmq):
        pass
    await given_order(web_engine, PLACED, partition=1)
    await publish_hints(rabbitmq, b"1")

    async with running_consumer(settings, rabbitmq):
        await take_task(rabbitmq)
