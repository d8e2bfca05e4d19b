"""The outer edge of every request, as plain ASGI.

From the outside in: CORS (Starlette's, so that errors carry its headers too), `Edge`, `Framing`,
then the application. BaseHTTPMiddleware is not used: it cancels handlers and hides disconnects.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_service import limits
from order_service.telemetry import logging as logs
from order_service.telemetry.tracing import traceparent_of
from order_service.web.concurrency import InWork, Work
from order_service.web.problems import problem as problems
from order_service.web.problems.problem import Problem
from order_service.web.rate_limits import Quota, limits_of
from order_service.web.responses import RawHeader

logger = logging.getLogger(__name__)

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "Prefer",
    "Consistency-Token",
    "X-Request-Id",
    "traceparent",
    "Last-Event-ID",
)
CORS_EXPOSED_HEADERS = (
    "ETag",
    "Location",
    "Link",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Idempotent-Replayed",
    "X-Request-Id",
    "X-Cache",
    "Consistency-Token",
    "Preference-Applied",
    "Projection-Lag-Ms",
)

CONTENT_SECURITY_POLICY = b"default-src 'none'; frame-ancestors 'none'"
# Swagger UI: its files come from this service; it sets styles on elements and shows icons from
# data: addresses.
DOCS_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
# The operator's page is made of our own files only, and sends its forms by script only.
DESK_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_POLICIES = {"docs": DOCS_CONTENT_SECURITY_POLICY, "desk": DESK_CONTENT_SECURITY_POLICY}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_DIGITS = re.compile(b"[0-9]{1,18}")


class Edge:
    """Request id, security and rate-limit headers on every answer; the last resort for what nothing
    else handles."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = begin(scope, _first(scope, b"traceparent"))
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _leave_work(state)
                message["headers"] = [*message.get("headers", ()), *edge_headers(scope, state)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            logger.info("client went away")
        except Exception:
            logger.exception("unhandled")
            if started:
                # the server cuts the connection, so that half an answer does not pass for a whole
                # one
                raise
            answer = problems.response(problems.internal_error(), state)
            await answer(scope, receive, send_with_headers)
        finally:
            _leave_work(state)


def _leave_work(state: dict[str, Any]) -> None:
    """Once it is being answered: how long that takes is up to the client."""
    in_work: InWork | None = state.pop("in_work", None)
    if in_work is not None:
        in_work.leave()


class Framing:
    """Refuses ambiguous framing; bounds the size of a body and the time in which it must arrive.

    uvicorn does neither, and what one HTTP parser forgives another does not: a request that a proxy
    and we would read differently is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        work: Work,
        body_bytes_max: int = limits.BODY_BYTES_MAX,
        body_bytes_max_by_path: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`body_bytes_max_by_path`: by paths without their trailing slash."""
        self.app = app
        self._work = work
        self._max = body_bytes_max
        self._max_by_path = body_bytes_max_by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body_bytes_max = self._max_by_path.get(scope["path"].rstrip("/"), self._max)
        problem = _refusal(scope, body_bytes_max)
        if problem is not None:
            if problem.status == 413:
                await _discard(receive)
            await problems.response(problem, scope["state"])(scope, receive, send)
            return
        body = _Body(receive, scope["state"], self._work, body_bytes_max)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._work.body_bytes -= body.received


class _Body:
    """One request's body as it arrives. `received`: bytes so far."""

    def __init__(
        self,
        receive: Receive,
        state: Mapping[str, Any],
        work: Work,
        bytes_max: int,
    ) -> None:
        self._receive = receive
        self._state = state
        self._work = work
        self._bytes_max = bytes_max
        self._deadline = time.monotonic() + limits.BODY_RECEIVE_TIMEOUT_S
        self._complete = False
        self.received = 0

    async def receive(self) -> Message:
        """ASGI's. Raises Problem 408, 413, 503."""
        if self._complete:
            return await self._receive()  # waits for a disconnect: no deadline
        message = await self._next()
        size = len(message.get("body", b""))
        self.received += size
        self._complete = not message.get("more_body", False)
        self._work.hold(size)
        if self.received > self._bytes_max:
            if not self._complete:
                await _discard(self._receive)
            raise _too_large(self._bytes_max)
        return message

    async def _next(self) -> Message:
        """Who waits for the client is not at work."""
        in_work: InWork | None = self._state.get("in_work")
        if in_work is not None:
            in_work.leave()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                return await self._receive()
        except TimeoutError:
            raise too_slow() from None
        finally:
            if in_work is not None:
                in_work.enter()


def _refusal(scope: Scope, body_bytes_max: int) -> Problem | None:
    hosts, length, encoded = 0, None, False
    for name, value in scope["headers"]:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = value if length is None else length
        elif name == b"transfer-encoding":
            encoded = True
    if length is not None and encoded:
        return _malformed("Send either Content-Length or Transfer-Encoding, not both.")
    if hosts != 1 and scope["http_version"] != "1.0":
        return _malformed("Send exactly one Host header.")
    if length is None:
        return None
    if not _DIGITS.fullmatch(length):
        return _malformed("Content-Length is not a number.")
    return _too_large(body_bytes_max) if int(length) > body_bytes_max else None


def too_slow() -> Problem:
    detail = f"The body did not arrive within {limits.BODY_RECEIVE_TIMEOUT_S:g} s."
    return Problem(408, "about:blank", detail, {"Connection": "close"})


def _too_large(body_bytes_max: int) -> Problem:
    detail = f"A body may have at most {body_bytes_max} bytes."
    return Problem(413, "about:blank", detail, {"Connection": "close"}, max_bytes=body_bytes_max)


async def _discard(receive: Receive) -> None:
    """Reads on for a while: a client that is still sending when the connection closes is told of a
    reset, and never of the answer."""
    left = limits.BODY_DISCARD_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.BODY_DISCARD_TIMEOUT_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _malformed(detail: str) -> Problem:
    # What follows on the connection cannot be trusted to be a request.
    return Problem(400, "malformed-request", detail, {"Connection": "close"})


# --- what every answer carries --------------------------------------------------------------------

_ALWAYS: tuple[RawHeader, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


def begin(scope: Scope, traceparent: bytes | None) -> dict[str, Any]:
    """The request's state: its id and the limits that it will be counted against.

    `traceparent`: the client's, whose trace it belongs to where no span of ours does."""
    state: dict[str, Any] = scope.setdefault("state", {})
    request_id = state["request_id"] = request_id_of(_first(scope, b"x-request-id"))
    logs.REQUEST_ID.set(request_id)  # uvicorn runs each request in a task of its own
    if traceparent is not None and logs.TRACEPARENT.get() is None:
        logs.TRACEPARENT.set(traceparent_of(traceparent.decode("latin-1")))
    state["quotas"] = []
    return state


def request_id_of(value: bytes | None) -> str:
    """The client's, if it may be one; else a new one."""
    return value.decode() if value and _REQUEST_ID.fullmatch(value) else new_request_id()


def _first(scope: Scope, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return None


def new_request_id() -> str:
    return token_hex(16)


def safe_headers(request_id: str, policy: bytes = CONTENT_SECURITY_POLICY) -> tuple[RawHeader, ...]:
    return (
        (b"x-request-id", request_id.encode()),
        *_ALWAYS,
        (b"content-security-policy", policy),
    )


def safe_lines(request_id: str) -> str:
    """`safe_headers` as they are on the wire."""
    return f"x-request-id: {request_id}\r\n{_SAFE_LINES}"


_SAFE_LINES = "".join(f"{k.decode()}: {v.decode()}\r\n" for k, v in safe_headers("")[1:])


def whole_answer(problem: Problem, lines: str = "", request_id: str | None = None) -> bytes:
    """What is on the wire, for a request that no application has seen. `lines`: more headers."""
    request_id = request_id or new_request_id()
    reply = problems.reply(problem, request_id)
    status_line = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    head = f"{status_line}{reply.lines()}{safe_lines(request_id)}{lines}\r\n"
    return head.encode("latin-1") + reply.body


def edge_headers(scope: Scope, state: Mapping[str, Any]) -> list[RawHeader]:
    """Raw headers, since each answer gets them."""
    first = scope["path"][1:].partition("/")[0]
    policy = _POLICIES.get(first, CONTENT_SECURITY_POLICY)
    quotas = state["quotas"] or [_peeked(scope)]
    headers = [
        *safe_headers(state["request_id"], policy),
        (b"ratelimit-policy", ", ".join([quota.policy for quota in quotas]).encode()),
        (b"ratelimit", ", ".join([quota.state for quota in quotas]).encode()),
    ]
    if scope["scheme"] == "https":
        headers.append(_STRICT_TRANSPORT)
    return headers


def _peeked(scope: Scope) -> Quota:
    client = scope["client"]
    host = client[0] if client else None
    return limits_of(HTTPConnection(scope)).peek(scope["method"], scope["path"], host)
