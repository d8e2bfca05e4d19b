"""Messages become tasks, and what no message told is found: M5, M7, F35, F47, F48."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import broker
from order_service.settings import Settings
from projections import consumer
from tests.examples import PLACED
from tests.given_log import given_order
from tests.pipeline import eventually, running
from tests.proxy import proxy_to

ALL_OF_ONE = [["customer_summary", 1], ["order_view", 1], ["sales_by_day", 1]]
MOVE = text("UPDATE checkpoints SET position = 1 WHERE name <> 'relay' AND partition = 1")


async def tell(rabbitmq: AbstractChannel, *bodies: bytes) -> None:
    exchange = await rabbitmq.get_exchange(broker.EVENTS_EXCHANGE)
    for body in bodies:
        await exchange.publish(Message(body), "order.new_order")


def hint(partition: int, position: int = 1) -> bytes:
    return orjson.dumps({"partition": partition, "position": position})


async def tasks(rabbitmq: AbstractChannel, count: int) -> list[Any]:
    """The arguments of the next tasks, taken from the queue; no more than `count` are there."""
    queue = await rabbitmq.get_queue(broker.TASK_QUEUE)
    found: list[Any] = []

    async def enough() -> bool:
        if message := await queue.get(no_ack=True, fail=False):
            assert message.headers["task"] == "advance"
            found.append(orjson.loads(message.body)[0])
        return len(found) >= count

    await eventually(enough)
    return sorted(found)


async def depth(rabbitmq: AbstractChannel, name: str) -> int:
    queue = await rabbitmq.declare_queue(name, passive=True)
    return queue.declaration_result.message_count or 0


async def consumers(rabbitmq: AbstractChannel) -> int:
    try:
        queue = await rabbitmq.declare_queue(broker.HINT_QUEUE, passive=True)
    except Exception:  # it does not exist; and the channel is closed by the question
        await rabbitmq.reopen()
        return 0
    return queue.declaration_result.consumer_count or 0


async def consuming(rabbitmq: AbstractChannel) -> None:
    async def it_does() -> bool:
        return await consumers(rabbitmq) == 1

    await eventually(it_does)


@asynccontextmanager
async def running_consumer(
    settings: Settings, rabbitmq: AbstractChannel
) -> AsyncIterator[AbstractChannel]:
    await broker.declare(rabbitmq)
    async with running(consumer.run, settings):
        await consuming(rabbitmq)
        yield rabbitmq


async def test_a_message_becomes_a_task_for_every_projection(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    async with running_consumer(settings, rabbitmq):
        await tell(rabbitmq, hint(1))
        assert await tasks(rabbitmq, 3) == ALL_OF_ONE

    assert await depth(rabbitmq, broker.HINT_QUEUE) == 0


async def test_messages_that_waited_become_one_task_a_partition(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    await broker.declare(rabbitmq)
    await tell(rabbitmq, *(hint(1, n) for n in range(1, 301)))

    async with running_consumer(settings, rabbitmq):
        first = await tasks(rabbitmq, 3)
        rest = await depth(rabbitmq, broker.TASK_QUEUE)

    assert first[0] == ALL_OF_ONE[0]
    assert rest < 60  # 300 messages would be 900 tasks


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[" * 100_000,
        b"[1]",
        b'{"partition": "1"}',
        b'{"partition": true}',
        b'{"partition": 4}',
        b'{"partition": -1}',
        b'{"partition": 1e400}',
        b'{"partition": 1, "data": "' + b"x" * 2_000_000 + b'"}',
    ],
    ids=lambda body: body[:20].decode(),
)
async def test_a_strange_message_is_thrown_away_and_the_next_is_heard(
    settings: Settings,
    rabbitmq: AbstractChannel,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
) -> None:
    async with running_consumer(settings, rabbitmq):
        await tell(rabbitmq, body, hint(1))
        assert await tasks(rabbitmq, 3) == ALL_OF_ONE

    assert await depth(rabbitmq, broker.HINT_QUEUE) == 0
    assert "1 messages are not events of this log" in caplog.text


async def test_the_tick_finds_what_no_message_told(
    settings: Settings, rabbitmq: AbstractChannel, web_engine: AsyncEngine
) -> None:
    await given_order(web_engine, PLACED, partition=1)

    async with running_consumer(settings, rabbitmq):
        assert await tasks(rabbitmq, 3) == ALL_OF_ONE


async def test_the_tick_leaves_alone_what_moves_or_is_at_the_head(
    settings: Settings,
    rabbitmq: AbstractChannel,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.settings.TICK_S", 0.2)
    async with running_consumer(settings, rabbitmq):
        for partition in (1, 2):
            await given_order(web_engine, PLACED, partition=partition)
        async with projector_engine.begin() as worker:
            await worker.execute(MOVE)
        found = await tasks(rabbitmq, 3)

    assert found == [["customer_summary", 2], ["order_view", 2], ["sales_by_day", 2]]


@pytest.mark.parametrize("queue", [broker.HINT_QUEUE, broker.TASK_QUEUE])
async def test_a_deleted_queue_is_declared_again(
    settings: Settings, rabbitmq: AbstractChannel, queue: str
) -> None:
    async with running_consumer(settings, rabbitmq):
        await tell(rabbitmq, hint(1))
        assert await tasks(rabbitmq, 3) == ALL_OF_ONE
        await rabbitmq.queue_delete(queue)
        if queue == broker.HINT_QUEUE:
            await consuming(rabbitmq)
        await tell(rabbitmq, hint(2))
        if queue == broker.TASK_QUEUE:
            await rabbitmq.declare_queue(queue, arguments=broker.TASK_QUEUE_ARGUMENTS, durable=True)
        found = await tasks(rabbitmq, 3)

    assert found == [["customer_summary", 2], ["order_view", 2], ["sales_by_day", 2]]


async def test_a_message_whose_tasks_cannot_be_sent_comes_again(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    """The messages wait, unacknowledged, until the connection is there again."""
    async with proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy:
        through_it = settings.model_copy(
            update={"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": proxy.port}
        )
        async with running_consumer(through_it, rabbitmq):
            proxy.cut()
            await tell(rabbitmq, hint(1))
            assert (await tasks(rabbitmq, 3))[0] == ALL_OF_ONE[0]

        assert await depth(rabbitmq, broker.HINT_QUEUE) == 0


async def test_a_consumer_that_stops_leaves_its_messages_to_the_next(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    async with running_consumer(settings, rabbitmq):
        pass
    await tell(rabbitmq, hint(1))

    async with running_consumer(settings, rabbitmq):
        assert await tasks(rabbitmq, 3) == ALL_OF_ONE
