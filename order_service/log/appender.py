"""Group commit: many commands, one round trip and one fsync. May import reading, fold, codec.

One appender a process. Commands that arrive while an append is in flight ride together in the next
one: one round trip and one fsync for all of them, no timer. The append and the cache refresh after
it belong to the appender and not to the request, so a client that goes away cancels neither.

What is known after a failure decides what happens (the order of these rules matters):

- nothing was sent: every command of the batch is answered "dependency unavailable";
- a data error (SQLSTATE class 22 or 23, or the driver could not encode): nothing was stored, and
  the commands are sent one by one, so that only the bad one fails;
- a lock that was not had in time: nothing was stored, and the batch is sent partition by partition,
  so that the one that somebody holds does not stop the others;
- another error that the server reports on a live connection: rolled back, "dependency unavailable";
- anything else (lost connection, client time-out): unknown. Event ids are fixed before the first
  attempt and `append` reports a command that stands already as repeated, so the same batch is sent
  once more on a new connection; if that says nothing of the data either (a refusal tells of the
  second attempt only), the outcome stays unknown and is called so.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import settings as limits
from order_service.domain.events import OrderEvent
from order_service.errors import InvalidRequest, RuleViolation, Unavailable, VersionConflict
from order_service.log import codec, reading
from order_service.log.codec import Metadata, RecordedEvent
from order_service.log.fold import FoldedOrder, fold

logger = logging.getLogger(__name__)

LOCK_NOT_AVAILABLE = "55P03"
AfterCommit = Callable[[Sequence[FoldedOrder]], Awaitable[None]]

_APPEND = (
    "SELECT outcome, version, position, recorded_at "
    "FROM append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
)


@dataclass(frozen=True, slots=True)
class OrderText:
    """Free text beside the events, which only point at it."""

    text_id: UUID
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Append:
    """One command's outcome, to be recorded if the order still stands at `before`."""

    stream_id: UUID
    before: FoldedOrder | None
    events: tuple[OrderEvent, ...]
    metadata: Metadata
    reference: tuple[UUID, str] | None = None
    texts: tuple[OrderText, ...] = ()

    @property
    def expected_version(self) -> int:
        return self.before.version if self.before else 0


@dataclass(slots=True, eq=False)
class _Waiting:
    """An append in the queue, encoded once; its event ids hold through every attempt.

    `size`: bytes of its events.
    """

    append: Append
    partition: int
    event_ids: list[UUID]
    payloads: list[str]
    metadata: str
    size: int
    done: asyncio.Future[FoldedOrder] = field(repr=False)


class _NotSentError(Exception):
    """No connection could be had."""


class _OutcomeUnknownError(Exception):
    """The batch was sent, and its outcome was not heard."""


class Appender:
    """One a process, one append in flight; `after_commit` gets what each commit made."""

    def __init__(self, engine: AsyncEngine, partitions: int, after_commit: AfterCommit) -> None:
        """`engine`: one connection of the appender's own, put into AUTOCOMMIT."""
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._partitions = partitions
        self._after_commit = after_commit
        self._queue: deque[_Waiting] = deque()
        self._unanswered: set[_Waiting] = set()  # queued or in flight
        self._arrived = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="appender")

    async def close(self) -> None:
        """Answers what is queued or in flight, then stops."""
        if self._unanswered:
            await asyncio.wait([w.done for w in self._unanswered], timeout=limits.APPEND_WAIT_S)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        _fail(self._unanswered, _unknown())
        await self._disconnect()

    async def append(self, append: Append) -> FoldedOrder:
        """The order after the events, which are then committed and in the cache's hands.

        Raises `VersionConflict` when the stream has moved on, `RuleViolation` when the reference is
        taken, `InvalidRequest` when the database refuses the data, `Unavailable` else.
        """
        waiting = _encoded(append, self._partitions)
        self._unanswered.add(waiting)
        waiting.done.add_done_callback(lambda _: self._unanswered.discard(waiting))
        self._queue.append(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout(limits.APPEND_WAIT_S):
                return await asyncio.shield(waiting.done)
        except TimeoutError:
            if waiting in self._queue:
                self._queue.remove(waiting)
                waiting.done.cancel()
                raise _unreachable() from None
            raise _unknown() from None

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            try:
                if batch:
                    await self._append(batch)
            except Exception:  # the appender must outlive any batch; its commands are answered
                logger.exception("append failed")
                await self._disconnect()
                _fail(batch, _unknown())

    def _take(self) -> list[_Waiting]:
        """Empty where all who were in the queue have left it, tired of waiting."""
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < limits.APPEND_BATCH_COMMANDS_MAX:
            size += self._queue[0].size
            if batch and size > limits.APPEND_BATCH_BYTES_MAX:
                break
            batch.append(self._queue.popleft())
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _append(self, batch: list[_Waiting]) -> None:
        try:
            rows = await self._send(batch)
        except _NotSentError:
            _fail(batch, _unreachable())
        except _OutcomeUnknownError:
            _fail(batch, _unknown())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            await self._refused(batch, error)
        else:
            answer = asyncio.create_task(self._answer(batch, rows))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _refused(self, batch: list[_Waiting], error: Exception) -> None:
        smaller = _split(batch, error)
        if len(smaller) > 1:
            for part in smaller:
                await self._append(part)
        elif _is_data_error(error):
            _fail(batch, InvalidRequest("validation", "The database cannot store this content."))
        else:
            logger.warning("append refused: %s", type(error).__name__)
            _fail(batch, Unavailable("dependency-unavailable", "The database cannot store now."))

    async def _send(self, batch: list[_Waiting]) -> list[Any]:
        arguments = _arguments(batch)
        try:
            return await self._call(arguments)
        except _OutcomeUnknownError:
            logger.warning("append outcome unknown: sent once more on a new connection")
        try:
            return await self._call(arguments)
        except _NotSentError as error:
            raise _OutcomeUnknownError from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            if _is_data_error(error):  # then the first attempt met with it, too
                raise
            raise _OutcomeUnknownError from error

    async def _call(self, arguments: list[list[Any]]) -> list[Any]:
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            raw = await self._connection.get_raw_connection()
        except (SQLAlchemyError, asyncpg.PostgresError, OSError, TimeoutError) as error:
            await self._disconnect()
            raise _NotSentError from error
        # The raw driver: it takes the parameters' types from the function itself and encodes whole
        # arrays, where SQLAlchemy would process each element of each array in Python.
        driver: Any = raw.driver_connection
        try:
            rows: list[Any] = await driver.fetch(_APPEND, *arguments)
            return rows
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            if _is_data_error(error) or not _is_lost(error, driver):
                raise
            await self._disconnect()
            raise _OutcomeUnknownError from error
        except (OSError, TimeoutError) as error:
            await self._disconnect()
            raise _OutcomeUnknownError from error

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.invalidate()
                await connection.close()
            except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                logger.debug("closing a broken connection failed", exc_info=True)

    async def _answer(self, batch: list[_Waiting], rows: list[Any]) -> None:
        try:
            await self._settle(batch, rows)
        except Exception:
            logger.exception("answering an append failed")
            _fail(batch, _unknown())

    async def _settle(self, batch: list[_Waiting], rows: list[Any]) -> None:
        won: list[tuple[_Waiting, FoldedOrder]] = []
        for waiting, row in zip(batch, rows, strict=True):
            if row["outcome"] in ("won", "repeated"):
                folded = _folded(waiting, row["position"], row["recorded_at"], self._partitions)
                won.append((waiting, folded))
            else:
                _fail([waiting], _lost(waiting.append, row["outcome"], row["version"]))
        try:
            if won:
                await self._after_commit([folded for _, folded in won])
        except Exception:  # the events are stored: no trouble with a cache may say otherwise
            logger.exception("refreshing after a commit failed")
        for waiting, folded in won:
            if not waiting.done.done():
                waiting.done.set_result(folded)


def _encoded(append: Append, partitions: int) -> _Waiting:
    assert append.events, "a command that changes nothing is not appended"
    payloads = [codec.encode(event) for event in append.events]
    metadata = codec.encode_metadata(append.metadata)
    sizes = [len(payload.encode()) for payload in payloads]
    if max(sizes) > limits.EVENT_BYTES_MAX:
        raise InvalidRequest(
            "content-too-large",
            f"The order's items come to more than {limits.EVENT_BYTES_MAX} bytes.",
            max_bytes=limits.EVENT_BYTES_MAX,
        )
    return _Waiting(
        append,
        reading.partition_of(append.stream_id, partitions),
        [uuid4() for _ in append.events],
        payloads,
        metadata,
        sum(sizes) + len(metadata) * len(payloads),
        asyncio.get_running_loop().create_future(),
    )


def _arguments(batch: list[_Waiting]) -> list[list[Any]]:
    """The eighteen arrays of the SQL function `append`: commands, events, texts."""
    appends = [waiting.append for waiting in batch]
    commands: list[list[Any]] = [
        [waiting.partition for waiting in batch],
        [append.stream_id for append in appends],
        [append.expected_version for append in appends],
        [len(append.events) for append in appends],
        [waiting.event_ids[0] for waiting in batch],
        [append.reference[0] if append.reference else None for append in appends],
        [append.reference[1] if append.reference else None for append in appends],
    ]
    events: list[list[Any]] = [[], [], [], [], [], [], []]
    texts: list[list[Any]] = [[], [], [], []]
    for number, waiting in enumerate(batch, start=1):
        append = waiting.append
        for offset, event in enumerate(append.events):
            row = (
                number,
                append.expected_version + 1 + offset,
                waiting.event_ids[offset],
                type(event).__name__,
                event.SCHEMA_VERSION,
                waiting.payloads[offset],
                waiting.metadata,
            )
            for column, value in zip(events, row, strict=True):
                column.append(value)
        for note in append.texts:
            cells = (number, note.text_id, note.kind, note.body)
            for column, value in zip(texts, cells, strict=True):
                column.append(value)
    return [*commands, *events, *texts]


def _folded(
    waiting: _Waiting, first_position: int, recorded_at: datetime, partitions: int
) -> FoldedOrder:
    append = waiting.append
    folded = append.before
    for offset, event in enumerate(append.events):
        recorded = RecordedEvent(
            waiting.partition,
            first_position + offset,
            append.stream_id,
            append.expected_version + 1 + offset,
            waiting.event_ids[offset],
            event,
            append.metadata,
            recorded_at,
        )
        folded = fold(folded, recorded, partitions)
    assert folded is not None
    return folded


def _lost(append: Append, outcome: str, found: int) -> Exception:
    if outcome == "lost":
        return VersionConflict(append.stream_id, append.expected_version, found)
    return RuleViolation(
        "duplicate-reference", "You have placed an order with this external_reference before."
    )


def _split(batch: list[_Waiting], error: Exception) -> list[list[_Waiting]]:
    """What to send apart, so that the error stays with those whom it concerns."""
    if _is_data_error(error):
        return [[waiting] for waiting in batch]
    if getattr(error, "sqlstate", None) != LOCK_NOT_AVAILABLE:
        return [batch]
    parts: dict[int, list[_Waiting]] = defaultdict(list)
    for waiting in batch:
        parts[waiting.partition].append(waiting)
    return list(parts.values())


def _fail(batch: Iterable[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
            waiting.done.exception()  # a client that went away must not leave it "never retrieved"


def _unreachable() -> Unavailable:
    return Unavailable("dependency-unavailable", "The database cannot be reached: nothing stored.")


def _unknown() -> Unavailable:
    return Unavailable(
        "outcome-unknown",
        "The database did not say whether the command was stored. Repeat it with the same "
        "Idempotency-Key, or read the order.",
    )


def _is_data_error(error: Exception) -> bool:
    """Nothing was stored, and the same data would fail again."""
    state = getattr(error, "sqlstate", None) or ""
    return state[:2] in ("22", "23") or isinstance(error, ValueError)


def _is_lost(error: Exception, driver: Any) -> bool:
    """Class 08 (connection) and 57P (shut down) end the connection without a word on the
    outcome."""
    state = getattr(error, "sqlstate", None) or ""
    return state[:2] == "08" or state[:3] == "57P" or not state or driver.is_closed()
