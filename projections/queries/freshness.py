"""How far a read model has come, and reads that wait until it shows a write.

A read with the `Consistency-Token` of a write waits, for a bounded time, until the live
generation's checkpoint has passed the write. If it still has not, a header says so, or the read is
refused where the client prefers that (RFC 7240). One advance of the read model releases many
waiting reads at once; only a few of them run at a time, so that other reads get connections too.
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
from order_service.infra.single_flight import SingleFlight
from projections.queries.positions import Positions, as_text, parse
from projections.read_models.generations import LIVE_CHECKPOINTS
from projections.read_models.projection import Projection

_PROGRESS = text(
    "SELECT m.live_generation, m.projection_version, "  # noqa: S608
    "array_agg(c.position ORDER BY c.partition) AS positions, "
    f"array_agg(p.position ORDER BY c.partition) AS heads FROM {LIVE_CHECKPOINTS} "
    "WHERE m.name = :name "
    "GROUP BY m.live_generation, m.projection_version"
)
_LAG_MS = text(
    "SELECT ceil(1000 * extract(epoch FROM clock_timestamp() - recorded_at))::bigint "
    "FROM events WHERE partition = :partition AND position = :position"
)
# Headers of the response to a read with tokens.
LAGGING = ("Projection-Lag-Ms", "Preference-Applied")
Position = tuple[int, int]  # an event's partition, and its position there
T = TypeVar("T")
Load = Callable[[AsyncConnection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Progress:
    """A read model's live generation. One element per partition: `positions`, up to where it shows
    the log, and `heads`, where the log ends."""

    generation: int
    projection_version: int
    positions: Positions
    heads: Positions

    def missing(self, tokens: Sequence[Token]) -> list[Token]:
        """The tokens of writes that it does not show. A token beyond the log's end is forged, or of
        a lost log: no position ever reaches it, so it counts as one of the log's last write."""
        return [
            token
            for token in tokens
            if self.positions[token.partition] < min(token.position, self.heads[token.partition])
        ]

    def as_bytes(self) -> bytes:
        """For `CachedList.read_at`."""
        return f"{self.generation}:{as_text(self.positions)}".encode()


def shows(read_at: bytes, tokens: Sequence[Token]) -> bool:
    """Whether a page that was read at this progress (`as_bytes`) shows the tokens' writes."""
    positions = parse(read_at.decode().partition(":")[2]) if tokens else ()
    return all(positions[token.partition] >= token.position for token in tokens)


async def read_progress(connection: AsyncConnection, name: str) -> Progress:
    row = (await connection.execute(_PROGRESS, {"name": name})).one()
    return Progress(
        row.live_generation, row.projection_version, tuple(row.positions), tuple(row.heads)
    )


async def required_progress(connection: AsyncConnection, projection: Projection) -> Progress:
    """A later read on the connection shows at least this progress, in columns that this version of
    the projection fills. Raises `Unavailable` if another version built the live generation."""
    progress = await read_progress(connection, projection.name)
    if progress.projection_version != projection.version:
        raise Unavailable(
            "projection-lagging",
            f"Another version of this service built the read model {projection.name}: an operator "
            "has to replay it.",
        )
    return progress


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which writes a read must show, and what the client prefers if they are not shown yet."""

    tokens: tuple[Token, ...] = ()
    wait_s: int = limits.READ_WAIT_S
    strict: bool = False
    applied: str = ""  # the Preference-Applied header of a read with tokens


# --- waiting --------------------------------------------------------------------------------------


class Freshness:
    """One per process: however many reads wait, one at a time looks at the checkpoints, and few at
    a time read afterwards."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._looks: SingleFlight[str, Progress] = SingleFlight()
        self._ages: SingleFlight[tuple[Position, ...], int] = SingleFlight()
        self._waited_reads = asyncio.Semaphore(limits.WAITED_READS_MAX)

    async def read(self, name: str, wanted: Wanted, load: Load[T]) -> tuple[T, dict[str, str]]:
        """What `load` finds once the read model shows the writes or the wait is over, and headers
        for the response.

        Raises `Unavailable`: `projection-lagging` if a write is not shown and the client is strict;
        `dependency-unavailable` if other waiting reads take too long.
        """
        if not wanted.tokens:
            return await query(self._engine, load), {}
        progress, waited = await self._wait(name, wanted)
        headers = await self._headers(wanted, progress)
        if not waited:
            return await query(self._engine, load), headers
        async with self._few_at_a_time():
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
    async def _few_at_a_time(self) -> AsyncIterator[None]:
        """All at once would take all connections from other requests, and most of them would still
        get none within POOL_WAIT_S."""
        try:
            async with asyncio.timeout(limits.READ_WAIT_MAX_S):
                await self._waited_reads.acquire()
        except TimeoutError:
            raise Unavailable(
                "dependency-unavailable",
                "Too many reads wait for their own writes: retry.",
                dependency="database",
            ) from None
        try:
            yield
        finally:
            self._waited_reads.release()

    async def _headers(self, wanted: Wanted, progress: Progress) -> dict[str, str]:
        headers = {"Preference-Applied": wanted.applied} if wanted.applied else {}
        missing = progress.missing(wanted.tokens)
        if not missing:
            return headers
        lag_ms = await self._lag_ms(missing, progress)
        if wanted.strict:
            raise Unavailable(
                "projection-lagging",
                "Your write is not shown here yet: retry after Retry-After.",
                lag_ms=lag_ms,
            )
        return headers | {"Projection-Lag-Ms": str(lag_ms)}

    async def _lag_ms(self, missing: Sequence[Token], progress: Progress) -> int:
        """Age of the oldest event that is not shown in the missing tokens' partitions."""
        partitions = sorted({token.partition for token in missing})
        oldest = tuple((n, progress.positions[n] + 1) for n in partitions)
        return await self._ages.load(
            oldest, lambda: query(self._engine, lambda c: greatest_age(c, oldest))
        )

    async def _look(self, name: str) -> Progress:
        return await query(self._engine, lambda c: read_progress(c, name))


async def greatest_age(connection: AsyncConnection, events: Sequence[Position]) -> int:
    greatest = 0
    for partition, position in events:
        parameters = {"partition": partition, "position": position}
        age: int = (await connection.execute(_LAG_MS, parameters)).scalar_one()
        greatest = max(greatest, age)
    return greatest
