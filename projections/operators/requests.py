"""Operators' requests to the read side: web records a request, and a worker executes it and records
the outcome in the same row, which is kept.

Web's database role may not write read models, so each rebuild, rollback, retry and skip goes
through this table. The consumer's tick finds waiting requests and sends a task. The task is a hint;
the row is the source of truth: the worker that claims a row executes it, once.
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
# still-parked, not-parked: a retry or a skip; refused: a replay refused, `detail` has the reason.
Outcome = Literal["done", "still-parked", "not-parked", "replay-running", "refused", "failed"]

# No client waits for a rebuild, so it never expires; but only one replay runs at a time, so a
# rebuild waits here while another runs. A client waits for every other request, and after a while
# receives 503 "nothing was changed": so a worker must not execute such a request later.
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
_SUBMIT = text(
    "INSERT INTO operator_requests (request_id, kind, projection, stream_id, reason, actor) "
    "VALUES (:request_id, :kind, :projection, :stream_id, :reason, :actor)"
)
_FINISH = text(
    "UPDATE operator_requests SET finished_at = clock_timestamp(), outcome = :outcome, "
    "detail = :detail WHERE request_id = ANY (:requests) AND finished_at IS NULL"
)
# One second more than workers allow: one of them may be claiming it right now.
_READ = text(
    "SELECT finished_at IS NOT NULL AS finished, outcome, detail, claimed_at IS NULL "
    "AND requested_at < clock_timestamp() - make_interval(secs => :patience_s + 1) AS expired "
    "FROM operator_requests WHERE request_id = :request_id"
)


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    request_id: UUID
    kind: Kind
    projection: str
    stream_id: UUID | None
    reason: str | None

    def __str__(self) -> str:
        """For logs: without the reason, which is free text written by a person."""
        about = f" {self.stream_id}" if self.stream_id else ""
        return f"{self.kind} {self.projection}{about}, request {self.request_id}"


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    detail: str | None


class NotClaimed(Exception):
    """No worker has claimed the request in time, and none will: nothing was done."""


class NotFinished(Exception):
    """A worker may have claimed the request, but recorded no outcome in time: it may be done."""


# --- used by web ----------------------------------------------------------------------------------


async def submit(
    engine: AsyncEngine,
    kind: Kind,
    projection: str,
    actor: UUID,
    stream_id: UUID | None = None,
    reason: str | None = None,
) -> UUID:
    """The request is recorded. Returns its id; the next worker that claims requests executes it."""
    request_id = uuid7()
    parameters = {
        "request_id": request_id,
        "kind": kind,
        "projection": projection,
        "stream_id": stream_id,
        "reason": reason,
        "actor": actor,
    }
    async with engine.begin() as connection:
        await connection.execute(_SUBMIT, parameters)
    return request_id


async def wait_for_result(engine: AsyncEngine, request_id: UUID) -> Result:
    """The request's outcome. Raises NotClaimed, NotFinished."""
    for _ in range(round(limits.OPERATOR_WAIT_S / limits.OPERATOR_POLL_S)):
        await asyncio.sleep(limits.OPERATOR_POLL_S)
        row = await query(engine, lambda c: _read(c, request_id))
        if row.finished:
            return Result(row.outcome, row.detail)
        if row.expired:
            raise NotClaimed
    raise NotFinished


async def _read(connection: AsyncConnection, request_id: UUID) -> Row[Any]:
    parameters = {"request_id": request_id, "patience_s": limits.OPERATOR_CLAIM_TIMEOUT_S}
    return (await connection.execute(_READ, parameters)).one()


# --- used by consumer and worker ------------------------------------------------------------------


async def any_waiting(driver: asyncpg.Connection) -> bool:
    """Whether a request waits for a worker; for the consumer's tick."""
    return bool(await driver.fetchval(_ANY_WAITING, limits.OPERATOR_CLAIM_TIMEOUT_S))


async def claim(engine: AsyncEngine) -> list[OperatorRequest]:
    """All waiting requests; only the caller may execute them."""
    async with driver_connection(engine) as (_, driver):
        return [
            OperatorRequest(*row)
            for row in await driver.fetch(_CLAIM, limits.OPERATOR_CLAIM_TIMEOUT_S)
        ]


async def finish(
    engine: AsyncEngine, requests: Collection[UUID], outcome: Outcome, detail: str | None = None
) -> None:
    """The outcome of these requests is recorded, unless they have one."""
    async with engine.begin() as connection:
        parameters = {"requests": list(requests), "outcome": outcome, "detail": detail}
        await connection.execute(_FINISH, parameters)
