"""Stream tickets: what a browser opens a stream with, since EventSource cannot set headers. May
import api, redis_client.

Access tokens never travel in addresses, which end up in histories and logs. A ticket does: it is
good for one stream, once, for 30 s. Redis holds its SHA-256 only, with whom it stands for.
"""

import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated, TypeVar

import orjson
from fastapi import APIRouter, Depends
from fastapi.security import APIKeyQuery
from pydantic import TypeAdapter
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.documents.schemas import StreamTicket
from order_service.errors import Unavailable
from order_service.infra.redis import RedisAway, RedisGate
from order_service.web.identity import (
    Caller,
    CallerDependency,
    admit_caller,
    bearer,
    caller,
    unauthorized,
)
from order_service.web.openapi.annotations import documented, raises
from order_service.web.responses import NO_STORE, json_answer

T = TypeVar("T")
_CALLER: TypeAdapter[Caller] = TypeAdapter(Caller)
_query = APIKeyQuery(name="ticket", scheme_name="StreamTicket", auto_error=False)

router = APIRouter(tags=["streams"])


class Tickets:
    """One a process. Raises Unavailable without Redis: a ticket must not be good twice."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._gate = RedisGate(redis)

    async def issue(self, caller: Caller) -> str:
        """256 random bits that stand for the caller, once."""
        ticket = secrets.token_urlsafe(32)
        held = orjson.dumps(caller)
        await self._run(lambda: self._redis.set(_key(ticket), held, ex=limits.STREAM_TICKET_S))
        return ticket

    async def redeem(self, ticket: str) -> Caller:
        """Whom the ticket stands for; it is used up. Raises Problem 401."""
        held = await self._run(lambda: self._redis.getdel(_key(ticket)))
        if held is None:
            raise unauthorized("token-invalid", "The ticket is used, expired or none of ours.")
        return _CALLER.validate_json(held)

    async def _run(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._gate.run(command)
        except RedisAway:
            raise Unavailable(
                "dependency-unavailable",
                "Tickets cannot be had nor used just now: retry, or send an access token.",
                dependency="cache",
            ) from None


def _key(ticket: str) -> str:
    return f"stream-ticket:{sha256(ticket.encode()).hexdigest()}"


@router.post(
    "/stream-tickets/",
    operation_id="stream_tickets_issue",
    summary="Get a ticket for a stream",
    response_model=StreamTicket,
    responses=documented(),
)
async def issue_ticket(request: Request, caller: CallerDependency) -> Response:
    """A ticket for one stream: open it with `?ticket=` before `expires_in` seconds are over.

    A browser's EventSource that was cut off repeats its address, whose ticket is used: take a new
    one then, and open a new EventSource with the last event's id as `since`.
    """
    tickets: Tickets = request.app.state.tickets
    ticket = await tickets.issue(caller)
    content = {"ticket": ticket, "expires_in": limits.STREAM_TICKET_S}
    return json_answer(content, headers=NO_STORE)


@raises("authentication-required", "token-expired", "token-invalid")
async def stream_caller(
    request: Request,
    token: Annotated[str | None, Depends(bearer)],
    ticket: Annotated[str | None, Depends(_query)],
) -> Caller:
    """As `identity.caller`, from a ticket where there is one."""
    if ticket is None:
        return await caller(request, token)
    tickets: Tickets = request.app.state.tickets
    redeemed = await tickets.redeem(ticket)
    return admit_caller(request, redeemed)


StreamCaller = Annotated[Caller, Depends(stream_caller)]
