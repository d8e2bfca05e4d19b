"""Stream tickets: single-use credentials for browsers, whose EventSource cannot set headers.

Access tokens never appear in addresses, which end up in browser histories and logs. A ticket may:
it opens one stream, once, within 30 s. Redis stores only its SHA-256, and the caller it stands for.
"""

import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TypeVar

import orjson
from pydantic import TypeAdapter

from order_service import limits
from order_service.errors import Unavailable
from order_service.infra.redis import Redis, RedisGate, RedisUnavailable
from order_service.web.identity import Caller, unauthorized

T = TypeVar("T")
_CALLER: TypeAdapter[Caller] = TypeAdapter(Caller)


class Tickets:
    """One per process. Raises Unavailable without Redis: a ticket must not work twice."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._gate = RedisGate(redis)

    async def issue(self, caller: Caller) -> str:
        """256 random bits that stand for the caller, once."""
        ticket = secrets.token_urlsafe(32)
        value = orjson.dumps(caller)
        await self._run(lambda: self._redis.set(_key(ticket), value, ex=limits.STREAM_TICKET_S))
        return ticket

    async def redeem(self, ticket: str) -> Caller:
        """The ticket's caller; the ticket is used up. Raises Problem 401."""
        value = await self._run(lambda: self._redis.getdel(_key(ticket)))
        if value is None:
            raise unauthorized("token-invalid", "The ticket is used, expired or unknown.")
        return _CALLER.validate_json(value)

    async def _run(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._gate.run(command)
        except RedisUnavailable:
            raise Unavailable(
                "dependency-unavailable",
                "Tickets cannot be issued or used now: retry, or send an access token.",
                dependency="cache",
            ) from None


def _key(ticket: str) -> str:
    return f"stream-ticket:{sha256(ticket.encode()).hexdigest()}"
