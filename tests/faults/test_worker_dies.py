"""F34, F45: a worker that is killed, and one whose connection is."""

from collections.abc import AsyncIterator

import psutil
import pytest
from aio_pika.abc import AbstractChannel

from order_service.infra.postgres import create_engine
from order_service.settings import Settings
from tests.support.servers.pipeline import through
from tests.support.servers.proxy import proxy_to
from tests.support.servers.workers import Tasks, with_probes, working
from tests.support.waiting import eventually


@pytest.fixture
def probed(settings: Settings) -> Settings:
    with_probes(settings)
    return settings


@pytest.fixture
async def tasks(probed: Settings, rabbitmq: AbstractChannel) -> AsyncIterator[Tasks]:
    engine = create_engine(probed, None, application_name="test")
    yield Tasks(engine, rabbitmq)
    await engine.dispose()


async def test_the_tasks_of_a_killed_worker_wait_for_the_next_and_nothing_is_left_of_it(
    probed: Settings, tasks: Tasks
) -> None:
    async with working(probed) as worker:
        await tasks.are_consumed()
        tasks.send("a", "b", then="hang")
        await tasks.runs("a", "b")
        children = psutil.Process(worker.pid).children()
        worker.kill()
        worker.wait()

        async def given_back() -> bool:
            return await tasks.waiting() == 2 and not any(c.is_running() for c in children)

        await eventually(given_back)


async def test_a_worker_comes_back_after_its_connection_was_cut(
    probed: Settings, tasks: Tasks
) -> None:
    async with (
        proxy_to(probed.RABBITMQ_HOST, probed.RABBITMQ_PORT) as proxy,
        working(through(proxy, probed)),
    ):
        await tasks.are_consumed()
        for name in ("a", "b"):
            tasks.send(name)
            await tasks.runs(name)
            proxy.cut()
        tasks.send("c")
        assert len(await tasks.runs("c")) == 1
