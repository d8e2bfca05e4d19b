"""A send puts the task in the queue or fails in time: F33, F35; and tasks not sent: F46."""

import asyncio

import pytest
from aio_pika.abc import AbstractChannel
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq as broker
from order_service.settings import Settings
from projections.read_models.registry import PROJECTIONS
from projections.worker.tasks import SEND_ERRORS, TaskSender, WorkerProcess, advance
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.support.log.given_log import given_order
from tests.support.servers.pipeline import checkpoints, through
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import WAIT_S


async def test_a_task_for_a_deleted_queue_is_an_error_and_the_queue_is_declared_again(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    sender = TaskSender(settings)
    await sender.send_advance()
    await rabbitmq.queue_delete(broker.TASK_QUEUE)

    with pytest.raises(SEND_ERRORS):
        await sender.send_advance()
    await sender.send_advance()

    queue = await rabbitmq.declare_queue(broker.TASK_QUEUE, passive=True)
    assert queue.declaration_result.message_count == 1
    sender.close()


async def test_a_silent_rabbitmq_ends_a_send_in_time(
    settings: Settings, rabbitmq: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.TASK_SEND_TIMEOUT_S", 0.3)
    async with proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy:
        sender = TaskSender(through(proxy, settings))
        await sender.send_advance()
        proxy.replies = False
        with pytest.raises(SEND_ERRORS, match="timed out"):
            async with asyncio.timeout(WAIT_S):
                await sender.send_advance()
        proxy.replies = True
        await sender.send_advance()
        sender.close()


@pytest.mark.usefixtures("patient")
async def test_a_redelivered_task_does_the_work_itself(
    settings: Settings, web_engine: AsyncEngine, rabbitmq: AbstractChannel
) -> None:
    """If an event kills the worker, RabbitMQ returns the task to the queue's head. Separate tasks
    would wait behind every hint that arrived meanwhile, each of which dies of that event first."""
    await broker.declare(rabbitmq)
    await given_order(web_engine, PLACED, CAPTURED, PAID)
    WorkerProcess.open(settings)
    advance.push_request(delivery_info={"redelivered": True})

    advance.run()

    advance.pop_request()
    WorkerProcess.current().close()
    assert [(await checkpoints(web_engine, name))[0] for name in PROJECTIONS] == [3] * 4
    queue = await rabbitmq.declare_queue(broker.TASK_QUEUE, passive=True)
    assert queue.declaration_result.message_count == 0
