"""Celery: the app, its tasks, and how they are sent. The one place where sync meets async.

A task is a hint: "look whether something is behind". It may be lost, doubled or late, since what
there is to do is read from the checkpoint, and the consumer's tick finds what no task told. Hence a
bounded queue without a dead-letter exchange and messages that are not written to disk; and hence a
task that fails is thrown away: the tick sends it again.

The task queue is classic. With a quorum queue Celery declares 28 exchanges and queues for delayed
tasks, which nothing here uses, at each start of a worker, and every hint waits for the disk. With a
classic one Celery asks for a prefetch a channel (`global`), which RabbitMQ 4.3 refuses; so
`task_consumer` asks for it a consumer, as Celery does with quorum queues.
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
from order_service.telemetry.metrics import TASK_SECONDS, TASKS_SENT, observed
from projections.loop.advance import advance as advance_projection
from projections.loop.advance_batches import Batches
from projections.loop.checkpoints import behind
from projections.operators import work as operator_work

logger = logging.getLogger(__name__)

Sent = tuple[Task, tuple[Any, ...]]  # with its arguments
REQUEST_ID, TRACEPARENT = "request_id", "traceparent"  # headers of a task's message
SEND_ERRORS = (AMQPError, MessageNacked, KombuError, OSError)
T = TypeVar("T")


def _configuration() -> dict[str, Any]:
    """Read when first needed, so that importing this module needs no environment."""
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
                # Celery wants one to be declared; tasks go by the default exchange.
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
        "task_time_limit": 2 * limits.TASK_TIMEOUT_S,  # for a worker whose own limit does not work
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


# Expected when a server is away: one line in the log instead of a traceback.
_EXPECTED = (*FAILURES, TimeoutError)


@app.task(name="advance", bind=True, throws=_EXPECTED)
def advance(self: Task) -> None:
    """Every projection is at the log's head, or further tasks have been sent."""
    with _begun(self) as process:
        if _redelivered(self):
            _advance_carefully(process)
            return
        batches = Batches(process.engine, process.cache)
        something_left = process.run(batches.run())
        process.send_further([(advance_apart, pair) for pair in sorted(batches.one_by_one)])
        logger.info("Advanced.")
        if something_left:
            process.send_further([(advance, ())])


@app.task(name="advance_apart", bind=True, throws=_EXPECTED)
def advance_apart(self: Task, projection: str, partition: int) -> None:
    """The projection is at the head of the partition, or a further task has been sent."""
    careful = _redelivered(self)
    with _begun(self) as process:
        something_left = process.run(
            advance_projection(process.engine, process.cache, projection, partition, careful)
        )
        if something_left:
            process.send_further([(advance_apart, (projection, partition))])


@app.task(name="serve_operators", bind=True, throws=_EXPECTED)
def serve_operators(self: Task) -> None:
    """What operators have asked for is done, or has a process that does it."""
    with _begun(self) as process:
        process.run(operator_work.serve(process.engine, process.cache))


@contextmanager
def _begun(task: Task) -> Iterator["WorkerProcess"]:
    """What the task logs, and what it sends further, bears the id of the newest request behind the
    hint that caused it (the others' rode along)."""
    logs.REQUEST_ID.set(task.request.get(REQUEST_ID))
    parent = tracing.traceparent_of(task.request.get(TRACEPARENT))
    process = WorkerProcess.current()
    process.active = 1  # there is one at a time
    began, outcome = perf_counter(), "failed"
    try:
        with tracing.span(f"task {task.name}", "CONSUMER", parent):
            yield process
        outcome = "done"
    finally:
        process.active = 0
        TASK_SECONDS[task.name, outcome].observe(perf_counter() - began)


def _advance_carefully(process: "WorkerProcess") -> None:
    """An earlier worker may have died of one of the next events: one by one it shows of which. In
    this task itself, which goes back to the queue's head if it dies of it too: behind all the hints
    that came meanwhile, each of which dies of that event first, tasks for it would never be run."""
    failed = None
    for pair in process.run(_behind(process.engine)):
        try:
            left = process.run(advance_projection(process.engine, process.cache, *pair, True))
        except Exception as error:  # the others go on: each fails alone
            failed = error
        else:
            if left:
                process.send_further([(advance_apart, pair)])
    if failed is not None:
        raise failed


async def _behind(engine: AsyncEngine) -> list[tuple[str, int]]:
    async with driver_connection(engine) as (_, driver):
        return [(found.name, found.partition) for found in await behind(driver)]


def _redelivered(task: Task) -> bool:
    return bool(task.request.delivery_info.get("redelivered"))


class TaskSender:
    """Sends tasks on a connection of its own; `close` it at the end.

    Not Celery's pool: a connection that stands idle there is closed by RabbitMQ, and one on which a
    confirm came too late gives it to the next message. Here any error drops the connection.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = rabbitmq.broker_url(settings)
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        # py-amqp blocks, so it never runs on an event loop; one thread, since it is not shareable.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="task-sender")

    async def send_advance(self, request_id: str | None = None) -> None:
        """A task that brings all read models to the log's head, by `send`, from an event loop."""
        await self._send([(advance, ())], request_id)

    async def send_serve_operators(self) -> None:
        """A task that looks what operators have asked for, as `send_advance`."""
        await self._send([(serve_operators, ())])

    async def _send(self, tasks: list[Sent], request_id: str | None = None) -> None:
        send = partial(copy_context().run, self.send, tasks, request_id)
        await asyncio.get_running_loop().run_in_executor(self._thread, send)

    def send(self, tasks: Iterable[Sent], request_id: str | None = None) -> None:
        """Every task is in the queue, confirmed; else raises one of SEND_ERRORS, and all may be
        sent again."""
        try:
            producer = self._producer or self._open()
            for task, arguments in tasks:
                TASKS_SENT[task.name].inc()
                task.apply_async(
                    arguments,
                    producer=producer,
                    headers={REQUEST_ID: request_id, TRACEPARENT: logs.TRACEPARENT.get()},
                    retry=False,
                    mandatory=True,  # else a task for a deleted queue is confirmed and gone
                    timeout=limits.TASK_SEND_TIMEOUT_S,
                    confirm_timeout=limits.TASK_SEND_TIMEOUT_S,
                )
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Also ends a send that is under way: it loses its connection."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._drop()

    def _open(self) -> Producer:
        # Nobody turns a loop for it that could send heartbeats: so none are promised.
        self._connection = app.connection_for_write(self._url, heartbeat=0)
        self._connection.connect()  # tries once; a lazy connection would try for ever
        self._producer = app.amqp.Producer(self._connection.channel())
        return self._producer

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.collect()  # closes the socket without waiting for an answer


class WorkerProcess:
    """What a worker process owns, made after the fork: a loop, an engine, Redis, a sender.

    The loop turns in a thread of its own, so that it turns between tasks too: the cache goes on
    trying to mend entries whose refresh failed, and connections see that the other side is gone.
    """

    _current: "WorkerProcess | None" = None

    def __init__(self, settings: Settings) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        # One task at a time: one connection for the batch, one beside it.
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
        """Made by the first task: the log that it belongs to must be reached for that."""
        if self._cache is None:
            self._cache = self.run(self._open_cache())
        return self._cache

    async def _open_cache(self) -> OrderCache:
        log_now = str(await incarnation(self.engine))
        cache = OrderCache(self._redis, self._cache_ttl_s, log_now)
        cache.start()
        return cache

    def _work_done(self) -> dict[str, int]:
        return {"active": self.active, "processed": observed(TASK_SECONDS.parent)}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, from the loop; TimeoutError, and `work` cancelled, if it hangs."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limits.TASK_TIMEOUT_S)
        finally:
            future.cancel()

    def send_further(self, tasks: Collection[Sent]) -> None:
        try:
            self.sender.send(tasks, logs.REQUEST_ID.get())
        except SEND_ERRORS as error:
            logger.warning("The next turn is left to the tick: %r", error)

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
    """Before the first warning, and where Celery would do it in its own way."""
    logs.set_up()


@worker_process_init.connect(weak=False)
def _open_process(**_: object) -> None:
    WorkerProcess.open(Settings())
    collect_rarely()


@worker_process_shutdown.connect(weak=False)
def _close_process(**_: object) -> None:
    WorkerProcess.current().close()
