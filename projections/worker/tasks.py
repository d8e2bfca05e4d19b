"""The Celery app, its tasks and their sender. Only here does sync code call async code.

A task is a hint: "check what is behind". It may be lost, doubled or late, since the checkpoint
defines the work, and the consumer's tick finds what no task announced. Hence the queue is bounded,
has no dead-letter exchange, and its messages are not written to disk; and a task that fails is
discarded, since the tick sends another.

The task queue is classic. With a quorum queue, Celery declares 28 unused exchanges and queues for
delayed tasks at each start of a worker, and every hint waits for the disk. With a classic queue,
Celery requests a prefetch limit per channel (`global`), which RabbitMQ 4.3 refuses; so
`task_consumer` requests it per consumer, as Celery does with quorum queues.
"""

import asyncio
import logging
import threading
from collections.abc import Collection, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import uvloop
from amqp.exceptions import AMQPError, MessageNacked
from celery import Celery, Task
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
)
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError
from kombu.messaging import Producer
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.infra import rabbitmq
from order_service.infra.gc_tuning import collect_rarely
from order_service.infra.heartbeat import Heartbeat
from order_service.infra.postgres import (
    FAILURES,
    PROJECTOR,
    create_engine,
    driver_connection,
    incarnation,
)
from order_service.infra.redis import connect
from order_service.settings import Settings
from order_service.telemetry import logging as logs
from order_service.telemetry import tracing
from order_service.telemetry.exposition import expose
from order_service.telemetry.metrics import TASK_SECONDS, TASKS_SENT, observation_count
from projections.loop.advance import advance as advance_projection
from projections.loop.advance_batches import Batches
from projections.loop.checkpoints import behind
from projections.operators import work as operator_work

logger = logging.getLogger(__name__)

TaskCall = tuple[Task, tuple[Any, ...]]  # with its arguments
REQUEST_ID, TRACEPARENT = "request_id", "traceparent"  # headers of a task's message
SEND_ERRORS = (AMQPError, MessageNacked, KombuError, OSError)
T = TypeVar("T")


def _configuration() -> dict[str, Any]:
    """Celery's settings. Read on first use, so that importing this module needs no environment."""
    settings = Settings()
    return {
        "broker_url": rabbitmq.broker_url(settings),
        "broker_heartbeat": limits.RABBITMQ_HEARTBEAT_S,
        "broker_connection_timeout": limits.RABBITMQ_CONNECT_TIMEOUT_S,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever
        "broker_channel_error_retry": True,  # else a deleted queue ends the worker
        "broker_pool_acquire_timeout": limits.TASK_SEND_TIMEOUT_S,
        "broker_transport_options": {
            "confirm_publish": True,
            "read_timeout": limits.TASK_SEND_TIMEOUT_S,
            "write_timeout": limits.TASK_SEND_TIMEOUT_S,
        },
        "task_queues": (
            Queue(
                rabbitmq.TASK_QUEUE,
                # Celery requires an exchange to be declared; tasks use the default exchange.
                exchange=Exchange(rabbitmq.TASK_QUEUE, type="direct"),
                routing_key=rabbitmq.TASK_QUEUE,
                queue_arguments=rabbitmq.TASK_QUEUE_ARGUMENTS,
            ),
        ),
        "task_default_queue": rabbitmq.TASK_QUEUE,
        "task_create_missing_queues": False,
        "task_default_delivery_mode": "transient",
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,  # else a killed worker's task counts as done
        "task_acks_on_timeout": False,
        "task_time_limit": 2 * limits.TASK_TIMEOUT_S,  # if the limit of WorkerProcess.run fails
        "worker_consumer": "projections.worker.task_consumer:Consumer",
        "worker_prefetch_multiplier": 1,
        "worker_max_memory_per_child": limits.WORKER_MEMORY_KB_MAX,
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # they are short and harmless
        "worker_send_task_events": False,  # Flower turns them on while it runs
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
    }


app = Celery("order-service")
app.add_defaults(_configuration)


# Expected while a server is unreachable: logged as one line instead of a traceback.
_EXPECTED = (*FAILURES, TimeoutError)


@app.task(name="advance", bind=True, throws=_EXPECTED)
def advance(self: Task) -> None:
    """Every projection is at the log's head, or follow-up tasks have been sent."""
    with _task_context(self) as process:
        if _redelivered(self):
            _advance_carefully(process)
            return
        batches = Batches(process.engine, process.cache)
        more_events = process.run(batches.run())
        process.send_follow_ups([(advance_apart, pair) for pair in sorted(batches.one_by_one)])
        logger.info("Advanced.")
        if more_events:
            process.send_follow_ups([(advance, ())])


@app.task(name="advance_apart", bind=True, throws=_EXPECTED)
def advance_apart(self: Task, projection: str, partition: int) -> None:
    """The projection is at the head of the partition, or a follow-up task has been sent."""
    careful = _redelivered(self)
    with _task_context(self) as process:
        more_events = process.run(
            advance_projection(process.engine, process.cache, projection, partition, careful)
        )
        if more_events:
            process.send_follow_ups([(advance_apart, (projection, partition))])


@app.task(name="serve_operators", bind=True, throws=_EXPECTED)
def serve_operators(self: Task) -> None:
    """All waiting requests of operators are done, or their replay process has started."""
    with _task_context(self) as process:
        process.run(operator_work.serve(process.engine, process.cache))


@contextmanager
def _task_context(task: Task) -> Iterator["WorkerProcess"]:
    """The context of a task: its logs and follow-up tasks have the id of the newest request that
    the hint stands for; its span, duration and outcome are recorded."""
    logs.REQUEST_ID.set(task.request.get(REQUEST_ID))
    parent = tracing.traceparent_of(task.request.get(TRACEPARENT))
    process = WorkerProcess.current()
    process.active = 1  # a process runs one task at a time
    began, outcome = perf_counter(), "failed"
    try:
        with tracing.span(f"task {task.name}", "CONSUMER", parent):
            yield process
        outcome = "done"
    finally:
        process.active = 0
        TASK_SECONDS[task.name, outcome].observe(perf_counter() - began)


def _advance_carefully(process: "WorkerProcess") -> None:
    """Every projection is advanced event by event, since one of the next events may have killed an
    earlier worker.

    This task does the work itself: if the event kills this worker too, RabbitMQ returns the task to
    the head of the queue. Separate tasks would wait behind the hints that arrived meanwhile; each
    of those would die of the event first, so the separate tasks would never run."""
    failed = None
    for pair in process.run(_pairs_behind(process.engine)):
        try:
            more_events = process.run(
                advance_projection(process.engine, process.cache, *pair, True)
            )
        except Exception as error:  # each fails alone; the others continue
            failed = error
        else:
            if more_events:
                process.send_follow_ups([(advance_apart, pair)])
    if failed is not None:
        raise failed


async def _pairs_behind(engine: AsyncEngine) -> list[tuple[str, int]]:
    async with driver_connection(engine) as (_, driver):
        return [(found.name, found.partition) for found in await behind(driver)]


def _redelivered(task: Task) -> bool:
    return bool(task.request.delivery_info.get("redelivered"))


class TaskSender:
    """Sends tasks on its own connection; `close` it at the end.

    Celery's pool is not used: RabbitMQ closes connections that are idle there, and a late confirm
    on a pooled connection is taken for that of the next message. Here any error drops the
    connection.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = rabbitmq.broker_url(settings)
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        # py-amqp blocks, so it never runs on an event loop; one thread, since it is not
        # thread-safe.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="task-sender")

    async def send_advance(self, request_id: str | None = None) -> None:
        """A task that advances all read models is in the queue; as `send`, for an event loop."""
        await self._send([(advance, ())], request_id)

    async def send_serve_operators(self) -> None:
        """A task that serves operators' requests is in the queue; as `send`, for an event loop."""
        await self._send([(serve_operators, ())])

    async def _send(self, tasks: list[TaskCall], request_id: str | None = None) -> None:
        send = partial(copy_context().run, self.send, tasks, request_id)
        await asyncio.get_running_loop().run_in_executor(self._thread, send)

    def send(self, tasks: Iterable[TaskCall], request_id: str | None = None) -> None:
        """Every task is in the queue and confirmed. Raises one of SEND_ERRORS; then all tasks may
        be sent again, since a doubled task is harmless."""
        try:
            producer = self._producer or self._open()
            for task, arguments in tasks:
                TASKS_SENT[task.name].inc()
                task.apply_async(
                    arguments,
                    producer=producer,
                    headers={REQUEST_ID: request_id, TRACEPARENT: logs.TRACEPARENT.get()},
                    retry=False,
                    mandatory=True,  # else a task for a deleted queue is confirmed and lost
                    timeout=limits.TASK_SEND_TIMEOUT_S,
                    confirm_timeout=limits.TASK_SEND_TIMEOUT_S,
                )
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Also ends a running send: its connection is closed."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._drop()

    def _open(self) -> Producer:
        # No loop sends heartbeats on this connection, so it negotiates none.
        self._connection = app.connection_for_write(self._url, heartbeat=0)
        self._connection.connect()  # tries once; a lazy connection would try for ever
        self._producer = app.amqp.Producer(self._connection.channel())
        return self._producer

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect()  # closes the socket without waiting for RabbitMQ


class WorkerProcess:
    """The resources of a worker process, created after the fork: a loop, an engine, Redis, a
    sender.

    The loop runs in its own thread, so that it also runs between tasks: the cache retries failed
    refreshes of entries, and connections notice that the server has closed them.
    """

    _current: "WorkerProcess | None" = None

    def __init__(self, settings: Settings) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        # One task at a time: one connection for the batch and a second one.
        self.engine = create_engine(
            settings, PROJECTOR, application_name="worker", pool_size=2, derived=True
        )
        self.sender = TaskSender(settings)
        self._redis = connect(settings)
        self.active = 0  # tasks
        self._heartbeat = Heartbeat(self._redis, "worker", self._work_done)
        self._beating = asyncio.run_coroutine_threadsafe(
            self._heartbeat.beat_for_ever(), self._loop
        )
        self._cache_ttl_s = settings.CACHE_TTL_SECONDS
        self._metrics = self.run(expose(settings, "worker"))
        tracing.start(settings, "worker")
        self._cache: OrderCache | None = None

    @classmethod
    def open(cls, settings: Settings) -> None:
        cls._current = cls(settings)

    @classmethod
    def current(cls) -> "WorkerProcess":
        assert cls._current is not None, "tasks run in worker processes only"
        return cls._current

    @property
    def cache(self) -> OrderCache:
        """Created by the first task, since it needs PostgreSQL for the log's incarnation."""
        if self._cache is None:
            self._cache = self.run(self._open_cache())
        return self._cache

    async def _open_cache(self) -> OrderCache:
        log_now = str(await incarnation(self.engine))
        cache = OrderCache(self._redis, self._cache_ttl_s, log_now)
        cache.start()
        return cache

    def _work_done(self) -> dict[str, int]:
        return {"active": self.active, "processed": observation_count(TASK_SECONDS.parent)}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run on the loop. Raises TimeoutError after TASK_TIMEOUT_S and
        cancels `work`."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limits.TASK_TIMEOUT_S)
        finally:
            future.cancel()

    def send_follow_ups(self, tasks: Collection[TaskCall]) -> None:
        """The tasks are in the queue; if that fails, the consumer's tick sends others."""
        try:
            self.sender.send(tasks, logs.REQUEST_ID.get())
        except SEND_ERRORS as error:
            logger.warning(
                "Cannot send follow-up tasks; the consumer's tick will send them: %r", error
            )

    def close(self) -> None:
        self.sender.close()
        self._beating.cancel()
        tracing.stop()
        try:
            self.run(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(limits.STOP_GRACE_S)

    async def _close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
        async with asyncio.timeout(limits.STOP_GRACE_S):
            await self._heartbeat.withdraw()
            if self._cache is not None:
                await self._cache.close()
            await self._redis.aclose()
            await self.engine.dispose()


@celeryd_init.connect(weak=False)
@setup_logging.connect(weak=False)
def _set_up_logging(**_: object) -> None:
    """Replaces Celery's logging setup, before the first warning is logged."""
    logs.set_up()


@worker_process_init.connect(weak=False)
def _open_process(**_: object) -> None:
    WorkerProcess.open(Settings())
    collect_rarely()


@worker_process_shutdown.connect(weak=False)
def _close_process(**_: object) -> None:
    WorkerProcess.current().close()
