"""Server-sent events: the response that sends a feed, and all open streams of this process.

FastAPI's EventSourceResponse and Starlette's StreamingResponse do not serve here: they wait for a
slow client without limit, and do not end open streams when the process shuts down.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from uuid import UUID

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from order_service import limits
from order_service.accounts import api_keys
from order_service.accounts.known_keys import KnownKeys
from order_service.errors import Unavailable
from order_service.infra.postgres import FAILURES
from order_service.telemetry.logging import reason
from order_service.telemetry.metrics import LIMITS_HIT
from order_service.web.identity import Caller
from order_service.web.problems.problem import Problem
from order_service.web.problems.problem_type import QUOTA_EXCEEDED
from projections.streams.board_feed import Boards
from projections.streams.feeds import Feed, Pages
from projections.streams.watch import LogWatch

logger = logging.getLogger(__name__)

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no buffering by proxies


class Streams:
    """One per process: what its streams share, and how many may be open. `stop` it when shutdown
    begins, `close` it before its engine."""

    def __init__(self, engine: AsyncEngine, keys: KnownKeys) -> None:
        self.keys = keys
        self.watch = LogWatch(engine)
        self.pages = Pages(engine)
        self.boards = Boards(engine)
        self._open: Counter[UUID] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Ends every open stream and refuses new ones. Clients resume at another process."""
        self._stopped = True
        for sending in self._sending:
            sending.cancel()

    async def close(self) -> None:
        self.stop()
        await self.watch.close()
        await self.boards.close()

    def count(self) -> int:
        """How many streams are open."""
        return self._open.total()

    @contextmanager
    def counted(self, user_id: UUID) -> Iterator[None]:
        """Inside the block the user has one more stream open. Raises Unavailable, Problem 429."""
        if self._stopped or self.count() >= limits.STREAMS_MAX:
            raise Unavailable("overloaded", "Too many streams are open: try again.")
        if self._open[user_id] >= limits.STREAMS_PER_USER_MAX:
            LIMITS_HIT["streams-user"].inc()
            raise Problem(
                429,
                QUOTA_EXCEEDED,
                f"You have {limits.STREAMS_PER_USER_MAX} streams open: close one.",
                {"Retry-After": str(int(limits.STREAM_HEARTBEAT_S))},
                **{"violated-policies": ["streams-user"]},
            )
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

    @contextmanager
    def ended_by_stop(self, sending: asyncio.Task[None]) -> Iterator[None]:
        self._sending.add(sending)
        if self._stopped:  # since the response began
            sending.cancel()
        try:
            yield
        finally:
            self._sending.remove(sending)


class EventStream(Response):
    """A feed's messages as they come, until the client disconnects or reads nothing for too long,
    the lifetime is over, the caller's API key loses the scope or the process shuts down."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, caller: Caller, scope: api_keys.Scope, feed: Feed) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._streams = streams
        self._caller = caller
        self._scope = scope
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.counted(self._caller.user_id):
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            gone = asyncio.create_task(_disconnected(receive))
            sending = asyncio.create_task(self._send_all(send))
            tasks = (gone, sending)
            with self._streams.ended_by_stop(sending), self._ended_by_revocation(sending):
                try:
                    await asyncio.wait(
                        tasks,
                        timeout=limits.STREAM_LIFETIME_S,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
            if gone.cancelled():
                await _end(sending, send)

    def _ended_by_revocation(self, sending: asyncio.Task[None]) -> AbstractContextManager[None]:
        grant = self._caller.grant
        if grant is None:
            return nullcontext()
        return self._streams.keys.held(grant, self._scope, sending.cancel)

    async def _send_all(self, send: Send) -> None:
        """Never returns. Raises TimeoutError if the client reads nothing for too long."""
        clock = asyncio.get_running_loop().time
        # The id comes first: a client that is disconnected before any event resumes from it.
        messages = [format_sse_event(id=self._feed.last_id, retry=limits.STREAM_RECONNECT_MS)]
        more, due = True, clock()
        with self._feed.listening() as woken:
            while True:
                if not messages and clock() >= due:
                    messages = [KEEPALIVE_COMMENT]
                for message in messages:
                    await _send(message, send)
                    due = clock() + limits.STREAM_HEARTBEAT_S
                if not more:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(due):
                            await woken.wait()
                messages = []
                if more or woken.is_set():
                    woken.clear()
                    messages, more = await self._read()

    async def _read(self) -> tuple[list[bytes], bool]:
        """Keeps the client while the database is unavailable: it would only reconnect."""
        try:
            return await self._feed.read()
        except FAILURES as error:
            logger.warning("A stream waits for the database: %s", reason(error))
            await asyncio.sleep(limits.STREAM_RETRY_S)
            return [], True


async def _send(message: bytes, send: Send) -> None:
    async with asyncio.timeout(limits.STREAM_SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": message, "more_body": True})


async def _end(sending: asyncio.Task[None], send: Send) -> None:
    """Completes the response. A client that does not read even its end is disconnected."""
    error = None if sending.cancelled() else sending.exception()
    if error is not None and not isinstance(error, TimeoutError):
        raise error
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.STREAM_END_TIMEOUT_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    """Returns when the client disconnects, or sends a body that is refused."""
    with suppress(Problem):
        while (await receive())["type"] != "http.disconnect":
            pass
