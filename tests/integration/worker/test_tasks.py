"""Celery with our configuration, in real worker processes: F35, F44, F47."""

import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq
from order_service.infra.postgres import create_engine
from order_service.settings import Settings
from projections.read_models.registry import PROJECTIONS
from projections.worker.tasks import TaskSender
from tests.conftest import own_database
from tests.support.hostile.messages import tasks as hostile
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.support.log.given_log import given_order
from tests.support.servers.pipeline import checkpoints
from tests.support.servers.workers import Tasks, start_worker, stop_worker, with_probes
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def lasting_worker(migrated_template: Settings) -> Iterator[Settings]:
    """The settings of one worker for all tests of this module, since a start takes seconds. At the
    end the worker is stopped; its exit code must be 0."""
    with own_database(migrated_template) as settings:
        with_probes(settings)
        worker = start_worker(settings)
        yield settings
        assert stop_worker(worker) == 0


@pytest.fixture
async def engine(lasting_worker: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(lasting_worker, None, application_name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def tasks(lasting_worker: Settings, engine: AsyncEngine) -> AsyncIterator[Tasks]:
    """The task queue, which a running worker consumes."""
    connection = await rabbitmq.connect(lasting_worker, "test")
    tasks = Tasks(engine, await connection.channel())
    await tasks.are_consumed()
    yield tasks
    await connection.close()


async def test_a_task_brings_its_projection_to_the_head(
    lasting_worker: Settings, engine: AsyncEngine, tasks: Tasks
) -> None:
    for partition in (0, 3):
        await given_order(engine, PLACED, CAPTURED, PAID, partition=partition)
    sender = TaskSender(lasting_worker)

    await sender.send_advance()

    async def all_there() -> bool:
        found = [await checkpoints(engine, name) for name in PROJECTIONS]
        return all(positions[0] == positions[3] == 3 for positions in found)

    await eventually(all_there)
    sender.close()


async def test_workers_declare_no_queues_for_delayed_tasks(tasks: Tasks) -> None:
    with pytest.raises(ChannelNotFoundEntity):
        await tasks.channel.declare_queue("celery_delayed_0", passive=True)


async def test_the_task_of_a_killed_process_is_redelivered_to_another(tasks: Tasks) -> None:
    tasks.send("killed", then="hang")
    ((_, killed, _),) = await tasks.runs("killed")

    os.kill(killed, signal.SIGKILL)

    first, second = await tasks.runs("killed", count=2)
    assert first == ("killed", killed, False)
    assert (second[0], second[2]) == ("killed", True)
    assert second[1] != killed


async def test_a_process_takes_one_task_and_leaves_the_others_to_other_workers(
    tasks: Tasks,
) -> None:
    tasks.send("a", "b", then="rest")
    await tasks.runs("a", "b")
    tasks.send("c", "d", "e")

    assert await tasks.waiting() == 3
    assert len(await tasks.runs("c", "d", "e")) == 3


async def test_a_failed_task_is_not_redelivered(tasks: Tasks) -> None:
    """The tick sends another task while a checkpoint is behind."""
    tasks.send("fails", then="fail")
    tasks.send("next")

    await tasks.runs("next")
    assert len(await tasks.runs("fails")) == 1
    assert await tasks.waiting() == 0


async def test_a_message_that_is_no_task_is_discarded_and_the_worker_continues(
    lasting_worker: Settings, engine: AsyncEngine, tasks: Tasks
) -> None:
    for message in hostile():
        await tasks.channel.default_exchange.publish(message, rabbitmq.TASK_QUEUE)
    tasks.send("after")

    assert len(await tasks.runs("after")) == 1

    async def all_are_gone() -> bool:
        return await tasks.waiting() == 0

    await eventually(all_are_gone)


async def test_a_worker_consumes_again_after_its_queue_was_deleted(tasks: Tasks) -> None:
    tasks.send("before")
    await tasks.runs("before")

    await tasks.channel.queue_delete(rabbitmq.TASK_QUEUE)

    await tasks.are_consumed()
    tasks.send("deleted")
    assert len(await tasks.runs("deleted")) == 1
