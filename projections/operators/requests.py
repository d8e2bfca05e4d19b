"""What operators ask of the read side over HTTP: web writes it down, a worker does it, and both say
so in one row, which is kept.

Web's role may not write what read models are made of. So there is no other way from a route to a
rebuild, a rollback, a retry or a skip than this table; the consumer's tick finds what waits in it
and sends a task. The row is the truth, the task a hint: whoever claims a row does it, once.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.ids import uuid7
from order_service.infra.postgres import driver_connection, query
from projections.read_models.generations import REPLAY_SESSION

Kind = Literal["rebuild", "rollback", "retry", "skip"]
# still-parked, not-parked: of a retry or a skip; refused: by the replay, `detail` says why.
Outcome = Literal["done", "still-parked", "not-parked", "replay-running", "refused", "failed"]

# Nobody waits for a rebuild. For all others somebody does, who after a while is told that nothing
# was done: so it must not be done later. And of replays there is one at a time: the next one waits
# here, and not in a process that could only refuse.
_WAITING = (
    "claimed_at IS NULL AND CASE kind "
    f"WHEN 'rebuild' THEN NOT EXISTS ({REPLAY_SESSION}) "
    "ELSE requested_at > clock_timestamp() - make_interval(secs => $1) END"
)
_ANY_WAITING = f"SELECT EXISTS (SELECT FROM operator_requests WHERE {_WAITING})"  # noqa: S608
_CLAIM = (
    "UPDATE operator_requests SET claimed_at = clock_timestamp() WHERE request_id IN "  # noqa: S608
    f"(SELECT request_id FROM operator_requests WHERE {_WAITING} "
    "ORDER BY requested_at FOR UPDATE SKIP LOCKED) "
    "RETURNING request_id, kind, projection, stream_id, reason"
)
_ASK = text(
    "INSERT INTO operator_requests (request_id, kind, projection, stream_id, reason, actor) "
    "VALUES (:request_id, :kind, :projection, :stream_id, :reason, :actor)"
)
_FINISH = text(
    "UPDATE operator_requests SET finished_at = clock_timestamp(), outcome = :outcome, "
    "detail = :detail WHERE request_id = ANY (:requests) AND finished_at IS NULL"
)
# A second more than workers take: one of them may just be at it.
_LOOK = text(
    "SELECT finished_at IS NOT NULL AS finished, outcome, detail, claimed_at IS NULL "
    "AND requested_at < clock_timestamp() - make_interval(secs => :patience_s + 1) AS given_up "
    "FROM operator_requests WHERE request_id = :request_id"
)


@dataclass(frozen=True, slots=True)
class Asked:
    request_id: UUID
    kind: Kind
    projection: str
    stream_id: UUID | None
    reason: str | None

    def __str__(self) -> str:
        """For logs: without the reason, which is a person's own words."""
        about = f" {self.stream_id}" if self.stream_id else ""
        return f"{self.kind} {self.projection}{about}, request {self.request_id}"


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    detail: str | None


class NobodyCame(Exception):
    """No worker has taken it in time, and none will: nothing was done."""


class NoAnswer(Exception):
    """A worker has taken it and not said what became of it: it may have been done."""


# --- web's side -----------------------------------------------------------------------------------


async def ask(
    engine: AsyncEngine,
    kind: Kind,
    projection: str,
    actor: UUID,
    stream_id: UUID | None = None,
    reason: str | None = None,
) -> UUID:
    """It is written down, and will be done by the next worker that looks."""
    request_id = uuid7()
    asked = {
        "request_id": request_id,
        "kind": kind,
        "projection": projection,
        "stream_id": stream_id,
        "reason": reason,
        "actor": actor,
    }
    async with engine.begin() as connection:
        await connection.execute(_ASK, asked)
    return request_id


async def answered(engine: AsyncEngine, request_id: UUID) -> Answer:
    """What became of it. Raises NobodyCame, NoAnswer."""
    for _ in range(round(limits.OPERATOR_WAIT_S / limits.OPERATOR_POLL_S)):
        await asyncio.sleep(limits.OPERATOR_POLL_S)
        row = await query(engine, lambda c: _look(c, request_id))
        if row.finished:
            return Answer(row.outcome, row.detail)
        if row.given_up:
            raise NobodyCame
    raise NoAnswer


async def _look(connection: AsyncConnection, request_id: UUID) -> Row[Any]:
    parameters = {"request_id": request_id, "patience_s": limits.OPERATOR_CLAIM_TIMEOUT_S}
    return (await connection.execute(_LOOK, parameters)).one()


# --- the projector's side -------------------------------------------------------------------------


async def any_waiting(driver: asyncpg.Connection) -> bool:
    """Whether a task has something to do; for the consumer's tick."""
    return bool(await driver.fetchval(_ANY_WAITING, limits.OPERATOR_CLAIM_TIMEOUT_S))


async def claim(engine: AsyncEngine) -> list[Asked]:
    """All that waits: the caller's to do, and nobody else's."""
    async with driver_connection(engine) as (_, driver):
        return [Asked(*row) for row in await driver.fetch(_CLAIM, limits.OPERATOR_CLAIM_TIMEOUT_S)]


async def finish(
    engine: AsyncEngine, requests: Collection[UUID], outcome: Outcome, detail: str | None = None
) -> None:
    """This became of them, unless it was said before."""
    async with engine.begin() as connection:
        parameters = {"requests": list(requests), "outcome": outcome, "detail": detail}
        await connection.execute(_FINISH, parameters)
