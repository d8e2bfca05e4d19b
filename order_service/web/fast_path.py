"""The fast lane: ordinary requests on the busiest routes, answered without FastAPI's machinery, and
without ASGI's.

Routing, dependencies and layers of middleware took four fifths of the time that FastAPI spent on
such a request, and of what was left when the lane stood behind ASGI, uvicorn's scope, messages and
two writes an answer took a quarter. So a connection asks here as soon as it has read a head. A
request that is ordinary in every respect is counted, authenticated and answered by the same
functions as FastAPI's route for it, in the same order, with the same headers. Whatever is not (a
query string, a preference, a header given twice, another media type, one request behind another)
goes to FastAPI, which also documents the routes. The decision is made on the request's head alone,
before anything is counted or read; tests/integration/web/test_lane.py holds both ways against each
other.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

from fastapi import FastAPI

from order_service import limits
from order_service.accounts.tokens import AccessTokens
from order_service.telemetry import logging as logs
from order_service.telemetry import tracing
from order_service.telemetry.metrics import HTTP_PROBLEMS
from order_service.web import middleware, request_metrics
from order_service.web.concurrency import Work, overloaded
from order_service.web.identity import Caller, authenticated, redacted_for
from order_service.web.problems import problem as problems
from order_service.web.rate_limits import UNLIMITED_PATHS, Limits, Quota, group_of, limited
from order_service.web.responses import RawHeader, Reply

logger = logging.getLogger(__name__)

# Headers of which the lane knows nothing although they may change the answer.
_UNUSUAL = frozenset(
    (
        *(b"consistency-token", b"content-encoding", b"expect", b"prefer"),
        *(b"transfer-encoding", b"upgrade"),
    )
)
_ORDER = re.compile(
    b"/orders/([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})/"
)
_ORDERS = b"/orders/"
_LENGTH = re.compile(b"[1-9][0-9]{0,9}")
_BEARER = b"Bearer "
# What differs from one shed answer to the next; the id as long as they all are.
_ID, _STATE = b"0123456789abcdef" * 2, b"{state}"
_OVERLOADED = overloaded("Too many requests are at work here: try again.")
_VARY_ORIGIN = "vary: Origin\r\n"


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


@dataclass(slots=True)
class Begun:
    """An ordinary request whose head has been read. `refusal`: what it met with before its body is
    of interest; else its `caller` is known."""

    lane: Lane
    method: str
    order_id: UUID | None
    headers: dict[bytes, bytes]
    request_id: str
    began: float
    quotas: list[Quota]
    caller: Caller | None = None
    refusal: Exception | None = None


class _Nobody:
    """Who waits for news of a request that the lane has taken."""

    def set(self) -> None:
        pass


class Taken:
    """A request that the lane has taken: as much of a `RequestResponseCycle` as uvicorn knows of
    the one at work."""

    message_event = _Nobody()

    def __init__(self, lane: "FastLane", begun: Begun, keep_alive: bool) -> None:
        self.lane = lane
        self.begun = begun
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None  # which answers it
        self.cut_short = False  # refused while its client was still sending
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

    def hold(self, piece: bytes) -> None:
        """Raises Problem 503."""
        self.body += piece
        self.lane.work.hold(len(piece))

    def let_go(self) -> None:
        self.lane.work.body_bytes -= len(self.body)


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
        self.work: Work = app.state.work
        self._limits: Limits = app.state.limits
        self._tokens: AccessTokens = app.state.access_tokens
        self._lanes = lanes
        self._origins = {origin.encode() for origin in allowed_origins}
        # By quota and origin: a handful of the one, and those of the settings of the other.
        self._shed_answers: dict[tuple[str, bytes | None], bytes] = {}
        self._exposed = ", ".join(middleware.CORS_EXPOSED_HEADERS)

    # --- a head -----------------------------------------------------------------------------------

    def begin(
        self, method: str, url: bytes, host: str | None, fields: Sequence[RawHeader]
    ) -> Begun | None:
        """What is ordinary, counted and with its caller; None for all else, of which nothing has
        been counted. `host`: the client's; `fields`: names in lower case."""
        order = None if url == _ORDERS else _ORDER.fullmatch(url)
        lane = self._lanes.get((method, order is not None))
        if lane is None or (order is None and url != _ORDERS):
            return None
        headers = dict(fields)
        if len(headers) != len(fields) or not self._is_ordinary(method, headers):
            return None
        began = perf_counter()
        order_id = UUID(int=int(b"".join(order.groups()), 16)) if order else None
        request_id = middleware.request_id_of(headers.get(b"x-request-id"))
        begun = Begun(lane, method, order_id, headers, request_id, began, [])
        try:
            self._admit(begun, host)
        except Exception as error:  # answered as soon as it can be said in the request's own name
            begun.refusal = error
        return begun

    def _is_ordinary(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        return (
            b"host" in headers
            and headers.get(b"authorization", b"").startswith(_BEARER)
            and _UNUSUAL.isdisjoint(headers)
            and (b"origin" not in headers or headers[b"origin"] in self._origins)
            and (_is_whole_json(headers) if method != "GET" else b"content-length" not in headers)
        )

    def _admit(self, begun: Begun, host: str | None) -> None:
        """Raises Problem 401, 429, 503."""
        group = begun.lane.group
        self._limits.count(begun.quotas, f"{group}-address", limited(host))
        self.work.of(group).check()
        token = begun.headers[b"authorization"][len(_BEARER) :].decode("latin-1").strip()
        begun.caller = authenticated(self._tokens, token)
        self._limits.count(begun.quotas, f"{group}-user", begun.caller.user_id.hex)

    # --- an answer --------------------------------------------------------------------------------

    async def answer(self, begun: Begun, body: bytes) -> tuple[int, bytes]:
        """The status, and all that follows its line. To be run in a task of its own, which is from
        then on about this request. Never raises."""
        logs.REQUEST_ID.set(begun.request_id)
        if begun.caller is not None:
            logs.USER_ID.set(begun.caller.user_id)
        field = begun.headers.get(b"traceparent")
        traceparent = tracing.traceparent_of(field.decode("latin-1")) if field else None
        if tracing.is_on():
            reply = await self._traced(begun, body, traceparent)
        else:
            logs.TRACEPARENT.set(traceparent)
            reply = await self._reply(begun, body)
        request_metrics.answered(begun.method, begun.lane.route, reply.status, begun.began)
        return reply.status, self._written(begun, reply)

    async def _traced(self, begun: Begun, body: bytes, parent: str | None) -> Reply:
        with request_metrics.request_span(begun.method, parent) as span:
            reply = await self._reply(begun, body)
            tracing.answered(span, begun.method, begun.lane.route, reply.status)
            return reply

    async def _reply(self, begun: Begun, body: bytes) -> Reply:
        lane, caller = begun.lane, begun.caller
        try:
            if begun.refusal is not None:
                raise begun.refusal
            assert caller is not None, "who is not refused is known"
            asked = Asked(self._app, begun.request_id, caller, begun.order_id, begun.headers, body)
            in_work = self.work.of(lane.group)
            in_work.enter()
            try:
                return await lane.answering(asked)
            finally:
                in_work.leave()
        except Exception as error:
            problem = problems.of_exception(redacted_for(caller, error) if caller else error)
            if problem is None:
                logger.exception("unhandled")
                problem = problems.internal_error()
            HTTP_PROBLEMS.count(begun.method, lane.route, problem.name)
            return problems.reply(problem, begun.request_id)

    def _written(self, begun: Begun, reply: Reply) -> bytes:
        """As `Edge` and the CORS middleware would send it, in one piece."""
        quotas = begun.quotas
        head = (
            reply.lines()
            + middleware.safe_lines(begun.request_id)
            + f"ratelimit-policy: {', '.join([quota.policy for quota in quotas])}\r\n"
            f"ratelimit: {', '.join([quota.state for quota in quotas])}\r\n"
            + self._cors(begun.headers.get(b"origin"))
            + "\r\n"
        )
        return head.encode("latin-1") + reply.body

    def _cors(self, origin: bytes | None) -> str:
        if origin is None:
            return _VARY_ORIGIN
        return (
            f"access-control-allow-origin: {origin.decode('latin-1')}\r\n"
            f"access-control-expose-headers: {self._exposed}\r\n{_VARY_ORIGIN}"
        )

    # --- no answer --------------------------------------------------------------------------------

    def shed(
        self, method: str, path: str, host: str | None, fields: Iterable[RawHeader]
    ) -> bytes | None:
        """The whole answer where there is no room for such a request, known without anything of
        it but its head; None where there is room. `host`: the client's."""
        if path in UNLIMITED_PATHS or self.work.has_room(group_of(method, path)):
            return None
        origin = next((value for name, value in fields if name == b"origin"), None)
        allowed = origin if origin in self._origins else None
        quota = self._limits.peek(method, path, host)
        found = self._shed_answers.get((quota.name, allowed))
        if found is None:
            found = self._shed_answers[quota.name, allowed] = self._shed_answer(quota, allowed)
        request_metrics.refused(method, request_metrics.SHED, _OVERLOADED)
        request_id = middleware.new_request_id()
        return found.replace(_ID, request_id.encode()).replace(_STATE, quota.state.encode())

    def _shed_answer(self, quota: Quota, origin: bytes | None) -> bytes:
        """All but what differs: made anew it would cost as much as the rest of a refusal."""
        lines = f"ratelimit-policy: {quota.policy}\r\nratelimit: {_STATE.decode()}\r\n"
        return middleware.whole_answer(_OVERLOADED, lines + self._cors(origin), _ID.decode())


def _is_whole_json(headers: Mapping[bytes, bytes]) -> bool:
    """A body that says how long it is, and is not too long."""
    length = headers.get(b"content-length", b"")
    return (
        headers.get(b"content-type") == b"application/json"
        and _LENGTH.fullmatch(length) is not None
        and int(length) <= limits.BODY_BYTES_MAX
    )
