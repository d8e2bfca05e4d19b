"""Celery workers as separate processes, and the probes that they run."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq
from order_service.settings import Settings
from projections.worker import celery_argv as worker
from projections.worker.tasks import app
from tests.conftest import ROOT, run_sql
from tests.support.servers.worker_probe import TABLE, probe
from tests.support.waiting import eventually

STOP_S = 60


def with_probes(settings: Settings) -> None:
    asyncio.run(run_sql(settings, TABLE, settings.DB_NAME))


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """A worker with two processes, as in production, but with the probe."""
    given = settings.model_dump(include={"DB_NAME", "RABBITMQ_HOST", "RABBITMQ_PORT"})
    environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
    argv = worker.argv(settings.model_copy(update={"WORKER_PROCESSES": 2}))
    probe = "tests.support.servers.worker_probe"
    probed = [word.replace("projections.worker.tasks", probe) for word in argv]
    return subprocess.Popen([sys.executable, "-m", *probed], cwd=ROOT, env=environment)


def stop_worker(worker: subprocess.Popen[bytes]) -> int:
    """Stops the worker; returns its exit code."""
    if worker.poll() is None:
        worker.terminate()
    try:
        return worker.wait(STOP_S)
    finally:
        worker.kill()


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[subprocess.Popen[bytes]]:
    worker = start_worker(settings)
    try:
        yield worker
    finally:
        await asyncio.to_thread(stop_worker, worker)  # not in the loop: a proxy may run in it


class Tasks:
    """The task queue, and the runs of probes."""

    def __init__(self, engine: AsyncEngine, channel: AbstractChannel) -> None:
        self._engine = engine
        self.channel = channel

    def send(self, *names: str, then: str = "") -> None:
        with app.connection_for_write() as connection:
            for name in names:
                probe.apply_async((name, then), connection=connection, mandatory=True)

    async def runs(self, *names: str, count: int = 0) -> list[tuple[str, int, bool]]:
        """Name, process id and whether redelivered, of the first `count` runs of these probes."""
        found: Sequence[Any] = ()
        statement = text(
            "SELECT name, pid, redelivered FROM probes WHERE name = ANY (:n) ORDER BY id"
        )

        async def enough() -> bool:
            nonlocal found
            async with self._engine.connect() as connection:
                found = (await connection.execute(statement, {"n": list(names)})).all()
            return len(found) >= (count or len(names))

        await eventually(enough)
        return [tuple(row) for row in found]

    async def are_consumed(self) -> None:
        async def has_consumer() -> bool:
            try:
                queue = await self.channel.declare_queue(rabbitmq.TASK_QUEUE, passive=True)
            except ChannelNotFoundEntity:
                await self.channel.reopen()
                return False
            return queue.declaration_result.consumer_count == 1

        await eventually(has_consumer)

    async def waiting(self) -> int:
        queue = await self.channel.declare_queue(rabbitmq.TASK_QUEUE, passive=True)
        return queue.declaration_result.message_count or 0
