"""The Celery app of projections/worker/tasks.py, with a task that a test can follow: `probe`.

Each run of `probe` writes a row and then does what its argument `then` names.
"""

import asyncio
import os
import time

import asyncpg
from celery import Task
from celery.signals import worker_process_init

from order_service import limits
from order_service.settings import Settings
from projections.worker.tasks import WorkerProcess, app

__all__ = ["app"]
PATIENCE_S = 60
TABLE = "CREATE TABLE probes (id bigserial, name text, pid int, redelivered bool, at float)"


@worker_process_init.connect  # type: ignore[untyped-decorator]
def be_patient(**_: object) -> None:
    """Raises the limit of waits in the worker's processes, for a busy machine."""
    limits.OPERATOR_CLAIM_TIMEOUT_S = PATIENCE_S


async def _note(name: str, redelivered: bool) -> None:
    settings = Settings()
    connection = await asyncpg.connect(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=settings.DB_NAME,
    )
    insert = "INSERT INTO probes (name, pid, redelivered, at) VALUES ($1, $2, $3, $4)"
    await connection.execute(insert, name, os.getpid(), redelivered, time.monotonic())
    await connection.close()


@app.task(name="probe", bind=True)  # type: ignore[untyped-decorator]
def probe(self: Task, name: str, then: str = "") -> None:
    redelivered = bool(self.request.delivery_info["redelivered"])
    WorkerProcess.current().run(_note(name, redelivered))
    if then == "fail":
        raise RuntimeError(name)
    if then == "rest":
        time.sleep(1)
    if then == "hang" and not redelivered:
        WorkerProcess.current().run(asyncio.sleep(600))
