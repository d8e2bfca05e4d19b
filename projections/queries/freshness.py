"""How far a read model has come, and reads that wait until it shows a write.

A read that sends the `Consistency-Token` of a write waits, for a bounded time, until the live
generation's checkpoint has passed that write. What is still missing then is said in a header, or
refused where the client prefers that (RFC 7240). One advance releases all who wait for it, so what
they read then they read in turns: the pool's connections are for those who did not wait as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.consistency_token import Token
from order_service.errors import Unavailable
from order_service.infra.postgres import query
from order_service.infra.single_flight import SharedLoads
from projections.read_models.projection import Projection

_PROGRESS = text(
    "SELECT m.live_generation, m.projection_version, "
    "array_agg(c.position ORDER BY c.partition) AS positions, "
    "array_agg(p.position ORDER BY c.partition) AS heads FROM read_models m "
    "JOIN checkpoints c ON c.name = m.name AND c.generation = m.live_generation "
    "JOIN partitions p ON p.partition = c.partition WHERE m.name = :name "
    "GROUP BY m.live_generation, m.projection_version"
)
_LAG_MS = text(
    "SELECT ceil(1000 * extract(epoch FROM clock_timestamp() - recorded_at))::bigint "
    "FROM events WHERE partition = :partition AND position = :position"
)
# Headers of an answer that had to wait for writes.
LAGGING = ("Projection-Lag-Ms", "Preference-Applied")
Place = tuple[int, int]  # an event's partition and position
T = TypeVar("T")
Load = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Progress:
    """A read model's live generation. `positions` and `heads` have one element a partition: up to
    where it shows the log, and where the log ends."""

    generation: int
    projection_version: int
    positions: tuple[int, ...]
    heads: tuple[int, ...]

    def missing(self, tokens: Sequence[Token]) -> list[Token]:
        """Those of writes that it does not show. A token beyond the log's end was forged, or comes
        from a log that was lost: nothing will ever satisfy it, so it asks for all there is."""
        return [
            token
            for token in tokens
            if self.positions[token.partition] < min(token.position, self.heads[token.partition])
        ]

    def noted(self) -> bytes:
        """For `CachedList.read_at`."""
        return f"{self.generation}:{'.'.join(map(str, self.positions))}".encode()


def shows(noted: bytes, tokens: Sequence[Token]) -> bool:
    """Whether a page that was read at this progress has the tokens' writes in it."""
    positions = noted.decode().partition(":")[2].split(".")
    return all(int(positions[token.partition]) >= token.position for token in tokens)


async def read_progress(connection: AsyncConnection, name: str) -> Progress:
    row = (await connection.execute(_PROGRESS, {"name": name})).one()
    return Progress(
        row.live_generation, row.projection_version, tuple(row.positions), tuple(row.heads)
    )


async def required_progress(connection: AsyncConnection, projection: Projection) -> Progress:
    """What is read after this shows at least that, in columns that this version of the projection
    has filled. Raises `Unavailable` if the live generation is of another one."""
    progress = await read_progress(connection, projection.name)
    if progress.projection_version != projection.version:
        raise Unavailable(
            "projection-lagging",
            f"The read model {projection.name} is of another version of this service: an operator "
            "has to replay it.",
        )
    return progress


# --- what a request wants -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader has seen already, and what it prefers where that is not there yet."""

    tokens: tuple[Token, ...] = ()
    wait_s: int = limits.READ_WAIT_S
    strict: bool = False
    applied: str = ""  # Preference-Applied, where a read waits


# --- waiting --------------------------------------------------------------------------------------


class Freshness:
    """One a process: however many readers wait, one of them at a time looks, and few at a time
    read afterwards."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._looks: SharedLoads[str, Progress] = SharedLoads()
        self._ages: SharedLoads[tuple[Place, ...], int] = SharedLoads()
        self._turns = asyncio.Semaphore(limits.WAITED_READS_MAX)

    async def read(self, name: str, wanted: Wanted, load: Load[T]) -> tuple[T, dict[str, str]]:
        """What `load` finds once the read model shows the writes, or the wait is over; and headers
        for the answer.

        Raises `Unavailable`: `projection-lagging` if too little is shown and the client is strict;
        `dependency-unavailable` if those who waited too take too long.
        """
        if not wanted.tokens:
            return await query(self._engine, load), {}
        progress, waited = await self._wait(name, wanted)
        headers = await self._headers(wanted, progress)
        if not waited:
            return await query(self._engine, load), headers
        async with self._turn():
            return await query(self._engine, load), headers

    async def _wait(self, name: str, wanted: Wanted) -> tuple[Progress, bool]:
        """The last look, and whether there was a wait before it."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wanted.wait_s
        waited = False
        while True:
            progress = await self._looks.load(name, lambda: self._look(name))
            left = deadline - clock()
            if left <= 0 or not progress.missing(wanted.tokens):
                return progress, waited
            waited = True
            await asyncio.sleep(min(left, limits.READ_WAIT_POLL_S))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """All at once would take the pool from everybody else, and most of them would find it
        empty for POOL_WAIT_S."""
        try:
            async with asyncio.timeout(limits.READ_WAIT_MAX_S):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable(
                "dependency-unavailable",
                "Too many wait for the database to read what they have written: retry.",
                dependency="database",
            ) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _headers(self, wanted: Wanted, progress: Progress) -> dict[str, str]:
        headers = {"Preference-Applied": wanted.applied} if wanted.applied else {}
        missing = progress.missing(wanted.tokens)
        if not missing:
            return headers
        lag_ms = await self._lag_ms(missing, progress)
        if wanted.strict:
            raise Unavailable(
                "projection-lagging",
                "What you have written is not shown here yet: retry after Retry-After.",
                lag_ms=lag_ms,
            )
        return headers | {"Projection-Lag-Ms": str(lag_ms)}

    async def _lag_ms(self, missing: Sequence[Token], progress: Progress) -> int:
        """Age of the oldest event that is not shown, of the missing tokens' partitions."""
        partitions = sorted({token.partition for token in missing})
        oldest = tuple((n, progress.positions[n] + 1) for n in partitions)
        return await self._ages.load(
            oldest, lambda: query(self._engine, lambda c: greatest_age(c, oldest))
        )

    async def _look(self, name: str) -> Progress:
        return await query(self._engine, lambda c: read_progress(c, name))


async def greatest_age(connection: AsyncConnection, events: Sequence[Place]) -> int:
    greatest = 0
    for partition, position in events:
        parameters = {"partition": partition, "position": position}
        age: int = (await connection.execute(_LAG_MS, parameters)).scalar_one()
        greatest = max(greatest, age)
    return greatest
