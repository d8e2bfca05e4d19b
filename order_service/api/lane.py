"""The fast lane: ordinary requests on the busiest routes, answered without FastAPI's machinery. May
import middleware, identity, limits, work, problems.

Routing, dependencies and layers of middleware took four fifths of the time that FastAPI spent on
such a request: a cached order came to 0.13 of a bare FastAPI route's rate, and comes to 1.12 of it
here (`bench get-hit`). So the application asks here first. A request that is ordinary in every
respect is counted, authenticated and answered by the same functions as FastAPI's route for it, in
the same order, with the same headers. Whatever is not (a query string, a preference, a header given
twice, another media type) goes to FastAPI, which also documents the routes. The decision is made on
the request's head alone, before anything is counted or read; tests/integration/test_lane.py holds
both ways against each other.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple
from uuid import UUID

from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from order_service import settings as constants
from order_service.api import counting, middleware, problems
from order_service.api.answers import RawHeader, Reply
from order_service.api.identity import Caller, authenticated, told
from order_service.api.limits import UNLIMITED_PATHS, Limits, Quota, group_of, limited
from order_service.api.work import Work, overloaded
from order_service.telemetry.metrics import HTTP_PROBLEMS

logger = logging.getLogger(__name__)

# Headers of which the lane knows nothing although they may change the answer.
_UNUSUAL = frozenset((b"consistency-token", b"content-encoding", b"prefer", b"transfer-encoding"))
_ORDER = re.compile(
    "/orders/([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})/"
)
_ORDERS = "/orders/"
_LENGTH = re.compile(b"[1-9][0-9]{0,9}")
_BEARER = b"Bearer "
# What differs from one shed answer to the next; the id as long as they all are.
_ID, _STATE = b"0123456789abcdef" * 2, b"{state}"
_OVERLOADED = overloaded("Too many requests are at work here: try again.")
_VARY_ORIGIN: RawHeader = (b"vary", b"Origin")


@dataclass(slots=True)
class Asked:
    """An ordinary request of a known caller. `order_id`: as in the path, if it has one. `headers`:
    each was given once."""

    app: FastAPI
    request_id: str
    caller: Caller
    order_id: UUID | None
    headers: Mapping[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


Answering = Callable[[Asked], Awaitable[Reply]]


class Lane(NamedTuple):
    """A route that the lane serves. `group`: whose limits count its requests; `route`: its path in
    FastAPI; `answering` gives what it would answer there, or raises what that would raise."""

    group: str
    route: str
    answering: Answering


class _Ordinary(NamedTuple):
    """What the head of an ordinary request says."""

    lane: Lane
    order_id: UUID | None
    headers: dict[bytes, bytes]


class FastLane:
    """Before the whole of `app`: to be asked for every request.

    `lanes`: by method and by whether the path names an order.
    """

    def __init__(
        self,
        app: FastAPI,
        lanes: Mapping[tuple[str, bool], Lane],
        allowed_origins: tuple[str, ...],
    ) -> None:
        self._app = app
        self._work: Work = app.state.work
        self._lanes = lanes
        self._origins = {origin.encode() for origin in allowed_origins}
        # By quota and origin: a handful of the one, and those of the settings of the other.
        self._shed_answers: dict[tuple[str, bytes | None], bytes] = {}
        self._exposed = ", ".join(middleware.CORS_EXPOSED_HEADERS).encode()

    async def takes(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the request was ordinary, and has been answered."""
        ordinary = self._ordinary(scope) if scope["type"] == "http" else None
        if ordinary is None:
            return False
        began = perf_counter()
        state = middleware.begin(scope, ordinary.headers.get(b"traceparent"))
        try:
            reply = await self._reply(scope, state, receive, ordinary)
        except ClientDisconnect:
            logger.info("client went away")
            return True
        headers = reply.raw_headers()
        headers += middleware.edge_headers(scope, state)
        headers += self._cors(ordinary.headers.get(b"origin"))
        counting.answered(scope, ordinary.lane.route, reply.status, perf_counter() - began)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        return True

    def shed(
        self, method: str, path: str, host: str | None, headers: Iterable[RawHeader]
    ) -> bytes | None:
        """The whole answer where there is no room for such a request, known without anything of
        it but its head; None where there is room. `host`: the client's."""
        if path in UNLIMITED_PATHS or self._work.has_room(group_of(method, path)):
            return None
        origin = next((value for name, value in headers if name == b"origin"), None)
        allowed = origin if origin in self._origins else None
        quota = self._app.state.limits.peek(method, path, host)
        found = self._shed_answers.get((quota.name, allowed))
        if found is None:
            found = self._shed_answers[quota.name, allowed] = self._shed_answer(quota, allowed)
        counting.refused(method, counting.SHED, _OVERLOADED)
        request_id = middleware.new_request_id()
        return found.replace(_ID, request_id.encode()).replace(_STATE, quota.state.encode())

    def _shed_answer(self, quota: Quota, origin: bytes | None) -> bytes:
        """All but what differs: made anew it would cost as much as the rest of a refusal."""
        headers = [(b"ratelimit-policy", quota.policy.encode()), (b"ratelimit", _STATE)]
        return middleware.whole_answer(_OVERLOADED, headers + self._cors(origin), _ID.decode())

    def _ordinary(self, scope: Scope) -> _Ordinary | None:
        path, method = scope["path"], scope["method"]
        order = _ORDER.fullmatch(path)
        lane = self._lanes.get((method, order is not None))
        if lane is None or (order is None and path != _ORDERS) or scope["query_string"]:
            return None
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers or name in _UNUSUAL:
                return None
            headers[name] = value
        if not self._is_ordinary(method, headers):
            return None
        return _Ordinary(
            lane, UUID(int=int("".join(order.groups()), 16)) if order else None, headers
        )

    def _is_ordinary(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        return (
            b"host" in headers
            and headers.get(b"authorization", b"").startswith(_BEARER)
            and (b"origin" not in headers or headers[b"origin"] in self._origins)
            and (_is_whole_json(headers) if method != "GET" else b"content-length" not in headers)
        )

    async def _reply(
        self, scope: Scope, state: dict[str, Any], receive: Receive, ordinary: _Ordinary
    ) -> Reply:
        caller = None
        lane, order_id, headers = ordinary
        try:
            caller = self._admitted(scope, state, lane.group, headers[b"authorization"])
            body = b"" if scope["method"] == "GET" else await _body(receive, self._work)
            asked = Asked(self._app, state["request_id"], caller, order_id, headers, body)
            return await self._at_work(lane, asked)
        except ClientDisconnect:
            raise
        except Exception as error:
            problem = problems.of_exception(told(caller, error) if caller else error)
            if problem is None:
                logger.exception("unhandled")
                problem = problems.internal_error()
            HTTP_PROBLEMS.count(scope["method"], lane.route, problem.name)
            return problems.reply(problem, state["request_id"])

    async def _at_work(self, lane: Lane, asked: Asked) -> Reply:
        in_work = self._work.of(lane.group)
        in_work.enter()
        try:
            return await lane.answering(asked)
        finally:
            in_work.leave()

    def _admitted(
        self, scope: Scope, state: dict[str, Any], group: str, authorization: bytes
    ) -> Caller:
        """Raises Problem 401, 429, 503."""
        limits: Limits = self._app.state.limits
        client = scope["client"]
        limits.count(state["quotas"], f"{group}-address", limited(client[0] if client else None))
        self._work.of(group).check()
        token = authorization[len(_BEARER) :].decode("latin-1").strip()
        caller = authenticated(self._app.state.access_tokens, token)
        limits.count(state["quotas"], f"{group}-user", str(caller.user_id))
        return caller

    def _cors(self, origin: bytes | None) -> list[RawHeader]:
        if origin is None:
            return [_VARY_ORIGIN]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", self._exposed),
            _VARY_ORIGIN,
        ]


def _is_whole_json(headers: Mapping[bytes, bytes]) -> bool:
    """A body that says how long it is, and is not too long."""
    length = headers.get(b"content-length", b"")
    return (
        headers.get(b"content-type") == b"application/json"
        and _LENGTH.fullmatch(length) is not None
        and int(length) <= constants.BODY_BYTES_MAX
    )


async def _body(receive: Receive, work: Work) -> bytes:
    """The server counts its bytes: they are as many as Content-Length says. Raises Problem 408,
    503."""
    chunks: list[bytes] = []
    held = 0
    try:
        async with asyncio.timeout(constants.BODY_RECEIVE_TIMEOUT_S):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                chunks.append(message["body"])
                held += len(message["body"])
                work.hold(len(message["body"]))
                message = await receive()
    except TimeoutError:
        raise middleware.too_slow() from None
    finally:
        work.body_bytes -= held
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return b"".join((*chunks, message["body"]))
