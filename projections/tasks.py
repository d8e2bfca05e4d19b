"""Celery: the app, its one task, and the one place where sync meets async.

May import advance, broker, cache, db, settings. A task says "look at this partition of that
projection"; what there is to do is read from the checkpoint. So a task that is lost, doubled or
late costs time only, and everything here is chosen for hints:

- The queue is classic, bounded, and drops its oldest. Celery makes 28 more queues for delays where
  its queue is a quorum queue, each a Raft member, for a durability that no hint needs.
- A task is acknowledged when it has ended, well or not: what it could not do, the consumer's tick
  finds again, with a pause. Only where its process dies is it delivered again, marked as such, so
  that `advance` looks for an event that kills its worker.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown
from kombu import Exchange, Queue

from order_service import broker
from order_service import settings as limits
from order_service.cache import OrderCache
from order_service.db import PROJECTOR, create_engine
from order_service.redis_client import connect
from order_service.settings import Settings
from projections.advance import advance as advance_projection

logger = logging.getLogger(__name__)
T = TypeVar("T")

settings = Settings()
app = Celery("order-service", broker=broker.broker_url(settings))
app.conf.update(
    task_queues=[
        Queue(
            broker.TASK_QUEUE,
            Exchange(""),
            routing_key=broker.TASK_QUEUE,
            queue_arguments=broker.TASK_QUEUE_ARGUMENTS,
        )
    ],
    task_default_queue=broker.TASK_QUEUE,
    task_default_exchange="",
    task_default_routing_key=broker.TASK_QUEUE,
    task_create_missing_queues=False,  # else a mistyped name would make a queue nobody reads
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],  # nothing that could run code while it is decoded
    task_acks_late=True,
    task_reject_on_worker_lost=True,  # late acknowledgement alone still drops a killed child's task
    task_track_started=True,
    worker_send_task_events=True,  # for Flower
    task_send_sent_event=False,
    worker_prefetch_multiplier=1,
    worker_max_memory_per_child=limits.WORKER_MEMORY_KB_MAX,
    worker_soft_shutdown_timeout=limits.STOP_GRACE_S,
    worker_hijack_root_logger=False,
    broker_transport_options={"confirm_publish": True},
    broker_heartbeat=limits.RABBITMQ_HEARTBEAT_S,
    broker_connection_timeout=limits.RABBITMQ_CONNECT_TIMEOUT_S,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,  # a deleted queue must not end the worker
    broker_pool_acquire_timeout=limits.TASK_SEND_TIMEOUT_S,
)


class _Process:
    """What one worker process owns: an event loop in a thread, an engine, a cache.

    The loop runs between tasks too, since the cache retries there what Redis did not hear.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        self.engine = create_engine(
            settings, PROJECTOR, application_name="order-service-worker", pool_size=2
        )
        self._redis = connect(settings)
        self.cache = OrderCache(self._redis, settings.CACHE_TTL_SECONDS)
        self.run(self._start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, on the process's loop; TimeoutError if it takes longer than any of its own
        limits allows."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limits.TASK_TIMEOUT_S)
        finally:
            future.cancel()

    def close(self) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(limits.STOP_GRACE_S)

    async def _start(self) -> None:
        self.cache.start()

    async def _close(self) -> None:
        await self.cache.close()
        await self._redis.aclose()
        await self.engine.dispose()


_process: _Process | None = None


@worker_process_init.connect
def _start_process(**_: Any) -> None:
    """After the fork: a socket or a loop made before it would be shared with the siblings."""
    global _process  # noqa: PLW0603  # Celery gives its tasks no other place for what a process owns
    _process = _Process()


@worker_process_shutdown.connect
def _stop_process(**_: Any) -> None:
    if _process is not None:
        _process.close()


@app.task(name="advance", bind=True)
def advance(self: Task, projection: str, partition: int) -> None:
    """The projection is at the log's head in this partition, or has sent itself another task."""
    assert _process is not None, "tasks run in worker processes only"
    redelivered = bool((self.request.delivery_info or {}).get("redelivered"))
    work = advance_projection(_process.engine, _process.cache, projection, partition, redelivered)
    if _process.run(work):
        _send([(projection, partition)])


def _send(hints: Sequence[tuple[str, int]]) -> None:
    """One task for each (projection, partition), confirmed and routed; else raises.

    The first attempt may meet a connection that died in the pool; then all of them are dropped (a
    late confirm on one of them could be taken for another message's) and it is tried once more.
    """
    for hint in hints:
        try:
            _send_one(hint)
        except Exception as error:  # kombu, amqp and the socket each raise their own
            logger.info("sending a task failed (%r): again on a new connection", error)
            app.pool.force_close_all()
            _send_one(hint)


def _send_one(hint: tuple[str, int]) -> None:
    advance.apply_async(
        hint,
        retry=False,
        mandatory=True,  # else a task for a deleted queue vanishes without a word
        timeout=limits.TASK_SEND_TIMEOUT_S,
        confirm_timeout=limits.TASK_SEND_TIMEOUT_S,
    )


_sender = ThreadPoolExecutor(1, thread_name_prefix="send-tasks")


async def send_advance(hints: Sequence[tuple[str, int]]) -> None:
    """`_send` for an event loop: Celery blocks, so a thread of its own does it."""
    await asyncio.get_running_loop().run_in_executor(_sender, _send, hints)
