"""Redis: the client, and a gate (circuit breaker) that makes an outage cheap. All other modules
import redis-py's names from here."""

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
    """Inside the block, importing `module` fails as if it were not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # documented: makes an import fail
    try:
        yield
    finally:
        del sys.modules[module]


# redis-py imports OpenTelemetry's SDK if it is installed, even with its metrics off: 60 ms and 3 MB
# of each process. No setting prevents that (redis 8.1, redis/observability/providers.py), but
# redis-py also works without the module.
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
    """redis-py's connection, for uvloop: a uvloop transport that Redis has reset raises
    RuntimeError, which redis-py does not handle as a connection error."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error


def connect(settings: Settings, timeout_s: float = limits.REDIS_SOCKET_TIMEOUT_S) -> Redis:
    """A client with a bounded pool; connects on first use, in the event loop that uses it.

    redis-py's defaults retry ten times and wait a minute for a hung server; they are all replaced.
    A failed command is not retried here: the caller decides whether a retry is worth the time.
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


class RedisUnavailable(Exception):
    """Redis was bypassed, did not answer in time, or refused: continue without it."""


class RedisGate:
    """A circuit breaker for all callers that can do without Redis.

    A call lasts at most REDIS_TIMEOUT_S, connecting included. After a failure all calls bypass
    Redis for REDIS_BREAKER_S, so that an outage does not delay requests. Then one call tries Redis;
    if Redis answers, all calls use it again.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._retry_at: float | None = None  # monotonic; None: Redis answers
        self._last_refusal = ""
        # Calls wait here and not in the pool: a busy process must not look like a dead Redis.
        self._slots = asyncio.Semaphore(limits.REDIS_POOL_SIZE)

    @property
    def is_open(self) -> bool:
        """Whether Redis answered the last call."""
        return self._retry_at is None

    async def run(
        self,
        command: Callable[[], Awaitable[T]],
        *,
        queue_s: float = limits.REDIS_TIMEOUT_S,
        insist: bool = False,
    ) -> T:
        """The command's result; raises RedisUnavailable.

        `queue_s`: how long to wait behind other calls before the command's own time begins.
        `insist`: call Redis even while other calls bypass it.
        """
        try:
            async with asyncio.timeout(queue_s if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError as error:
            raise RedisUnavailable("too many calls at once") from error
        try:
            # Checked after the wait: calls that queued behind a failed one must not each time out.
            if not (insist or self._may_try()):
                raise RedisUnavailable("bypassed after a failure")
            return await self._try(command)
        finally:
            self._slots.release()

    async def _try(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(None) as timeout:
                with _Deadline(timeout):
                    result = await cancellable(command)
        except ResponseError as error:  # Redis answers, but refuses (full, read-only, no rights)
            self._refused(error)
            raise RedisUnavailable(str(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            await self._failed(error)
            raise RedisUnavailable(repr(error)) from error
        self._answered()
        return result

    def _may_try(self) -> bool:
        if self._retry_at is None:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + limits.REDIS_BREAKER_S  # only this call tries; the others bypass
        return True

    def _answered(self) -> None:
        if self._retry_at is not None:
            self._retry_at = None
            logger.warning("Redis answers again.")

    def _refused(self, error: ResponseError) -> None:
        self._answered()
        if str(error) != self._last_refusal:  # logged once, not for each request
            self._last_refusal = str(error)
            logger.warning("Redis refused a command: %s", error)

    async def _failed(self, error: BaseException) -> None:
        first = self._retry_at is None
        self._retry_at = time.monotonic() + limits.REDIS_BREAKER_S
        if first:
            logger.warning("Redis does not answer (%r): continuing without it.", error)
            # Idle connections may be dead too, without a sign. Each one kept would cost one more
            # time-out, and one more second without Redis, after the outage has ended. If closing
            # one times out, on a busy machine, it is closed all the same.
            with suppress(RedisError, OSError):
                await self.redis.connection_pool.disconnect(inuse_connections=False)


class _Deadline:
    """Cancels a call after REDIS_TIMEOUT_S, not counting delays of this process itself.

    In a busy process the reply may wait in the socket while other tasks run. If that counted as no
    answer, all reads would go to PostgreSQL and make the process even busier. So where the timer
    itself is late, the deadline starts again, at most REDIS_LATE_MAX times.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._restarts_left = limits.REDIS_LATE_MAX

    def __enter__(self) -> None:
        self._start_timer()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _start_timer(self) -> None:
        self._due = time.monotonic() + limits.REDIS_TIMEOUT_S
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limits.REDIS_TIMEOUT_S, self._on_time)

    def _on_time(self) -> None:
        if self._restarts_left and time.monotonic() - self._due > limits.REDIS_LATE_S:
            self._restarts_left -= 1
            self._start_timer()
        else:
            self._timeout.reschedule(asyncio.get_running_loop().time())


async def cancellable(command: Callable[[], Awaitable[T]]) -> T:
    """The command's result. Raises CancelledError if the task was cancelled meanwhile.

    redis-py sends with `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that
    arrives as the sending ends (https://github.com/python/cpython/issues/86296). Waiting for a
    cancelled task that uses Redis could then last for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    result = await command()
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result
