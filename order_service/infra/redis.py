"""Redis: a process's client, and a gate that keeps a dead Redis cheap. All others import redis-py's
names from here."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from order_service import limits
from order_service.settings import Settings


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Inside the block, importing that module fails as if it were not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the documented way to say so
    try:
        yield
    finally:
        del sys.modules[module]


# redis-py imports OpenTelemetry's SDK wherever it is installed, before anybody switches its metrics
# on: 60 ms and 3 MB of each process. It has no setting against that (redis 8.1,
# redis/observability/providers.py), but does without what it cannot import.
with _without("opentelemetry.sdk.metrics"):
    from redis.asyncio import BlockingConnectionPool, Connection, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

__all__ = ["InvalidResponse", "NoScriptError", "Redis", "RedisError", "ResponseError"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


class _Connection(Connection):
    """redis-py's own, for uvloop: a transport of that one which the other side has reset answers
    RuntimeError, and redis-py lets that through like a mistake of its caller's."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error


def connect(settings: Settings, timeout_s: float = limits.REDIS_SOCKET_TIMEOUT_S) -> Redis:
    """A client with a bounded pool; connects on first use, in the event loop that uses it.

    Nothing is left to redis-py's defaults: they retry ten times and wait a minute on a hung server.
    A command that fails is not sent again here: whoever asks for it knows whether it is worth the
    time.
    """
    pool = BlockingConnectionPool(
        connection_class=_Connection,
        host=settings.REDIS_HOST,
        port=settings.REDIS_PORT,
        password=settings.REDIS_PASSWORD or None,
        db=settings.REDIS_DB,
        max_connections=limits.REDIS_POOL_SIZE,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # 3 costs a HELLO and a CLIENT MAINT_NOTIFICATIONS on every new connection
        driver_info=None,  # no CLIENT SETINFO either
        decode_responses=False,
    )
    return Redis.from_pool(pool)


class RedisAway(Exception):
    """Redis was left alone, did not answer in time, or refused: go on without it."""


class RedisGate:
    """The one way to Redis for whoever can do without it.

    A call lasts at most REDIS_TIMEOUT_S, connecting included. After a failure Redis is left alone
    for REDIS_BREAKER_S, so that an outage costs a request nothing; then one call tries it and, if
    it is answered, opens the way for all.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._retry_at: float | None = None  # monotonic; None: Redis answers
        self._last_refusal = ""
        # Waiting here and not in the pool tells "we are busy", which is no sign of a dead Redis,
        # from "it is silent".
        self._slots = asyncio.Semaphore(limits.REDIS_POOL_SIZE)

    @property
    def is_open(self) -> bool:
        """Whether Redis answered the last time."""
        return self._retry_at is None

    async def run(
        self,
        command: Callable[[], Awaitable[T]],
        *,
        queue_s: float = limits.REDIS_TIMEOUT_S,
        insist: bool = False,
    ) -> T:
        """The command's result; raises RedisAway.

        `queue_s`: how long to wait behind other calls before the command's own time begins.
        `insist`: even while Redis is left alone.
        """
        try:
            async with asyncio.timeout(queue_s if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError as error:
            raise RedisAway("too many calls at once") from error
        try:
            # Looked at after the wait: those who queued behind calls that failed must not fail one
            # by one.
            if not (insist or self._may_try()):
                raise RedisAway("left alone after a failure")
            return await self._try(command)
        finally:
            self._slots.release()

    async def _try(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(None) as timeout:
                with _Deadline(timeout):
                    result = await cancellable(command)
        except (
            ResponseError
        ) as error:  # it answers, though with a refusal (full, read-only, no rights)
            self._refused(error)
            raise RedisAway(str(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            await self._failed(error)
            raise RedisAway(repr(error)) from error
        self._answered()
        return result

    def _may_try(self) -> bool:
        if self._retry_at is None:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = (
            now + limits.REDIS_BREAKER_S
        )  # this call tries; the others wait for its outcome
        return True

    def _answered(self) -> None:
        if self._retry_at is not None:
            self._retry_at = None
            logger.warning("Redis answers again.")

    def _refused(self, error: ResponseError) -> None:
        self._answered()
        if str(error) != self._last_refusal:  # once, not a line a request
            self._last_refusal = str(error)
            logger.warning("Redis refused a command: %s", error)

    async def _failed(self, error: BaseException) -> None:
        first = self._retry_at is None
        self._retry_at = time.monotonic() + limits.REDIS_BREAKER_S
        if first:
            logger.warning("Redis does not answer (%r): going on without it.", error)
            # Idle connections may be cut without a word, as the failed one was. Kept, each of them
            # would cost one more time-out and one more second without Redis after it has come back.
            # On a busy machine even closing one may take too long: it is closed all the same.
            with suppress(RedisError, OSError):
                await self.redis.connection_pool.disconnect(inuse_connections=False)


class _Deadline:
    """REDIS_TIMEOUT_S for Redis to answer in, not counting what this process is late by itself.

    In a busy process the answer may lie in the socket while everybody else is served first. Taken
    for silence, that would send all reads to PostgreSQL, and make the process busier still.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._left = limits.REDIS_LATE_MAX

    def __enter__(self) -> None:
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _begin(self) -> None:
        self._due = time.monotonic() + limits.REDIS_TIMEOUT_S
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limits.REDIS_TIMEOUT_S, self._passed)

    def _passed(self) -> None:
        if self._left and time.monotonic() - self._due > limits.REDIS_LATE_S:
            self._left -= 1
            self._begin()
        else:
            self._timeout.reschedule(asyncio.get_running_loop().time())


async def cancellable(command: Callable[[], Awaitable[T]]) -> T:
    """The command's result, unless the task was cancelled meanwhile.

    redis-py sends by `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that comes as
    the sending ends (https://github.com/python/cpython/issues/86296). Whoever ends a task that uses
    Redis would wait for it for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    result = await command()
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result
