"""Tasks are in the queue, or it is an error in time: F33, F35."""

import asyncio

import pytest
from aio_pika.abc import AbstractChannel

from order_service import broker
from order_service import settings as limits
from order_service.settings import Settings
from projections.tasks import SEND_ERRORS, TaskSender
from tests.pipeline import through
from tests.proxy import proxy_to


async def test_a_task_for_a_deleted_queue_is_an_error_and_then_declares_it(
    settings: Settings, rabbitmq: AbstractChannel
) -> None:
    sender = TaskSender(settings)
    await sender.send_advance([0])
    await rabbitmq.queue_delete(broker.TASK_QUEUE)

    with pytest.raises(SEND_ERRORS):
        await sender.send_advance([0])
    await sender.send_advance([0, limits.ADVANCE_PARTITIONS])

    queue = await rabbitmq.declare_queue(broker.TASK_QUEUE, passive=True)
    assert queue.declaration_result.message_count == 2
    sender.close()


async def test_a_silent_rabbitmq_ends_a_send_in_time(
    settings: Settings, rabbitmq: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.settings.TASK_SEND_TIMEOUT_S", 0.3)
    async with proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy:
        sender = TaskSender(through(proxy, settings))
        await sender.send_advance([0])
        proxy.replies = False
        with pytest.raises(SEND_ERRORS, match="timed out"):
            async with asyncio.timeout(2):
                await sender.send_advance([0])
        proxy.replies = True
        await sender.send_advance([0])
        sender.close()
