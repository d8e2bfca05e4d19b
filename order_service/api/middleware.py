"""The outer edge of every request, as plain ASGI. May import problems, limits, settings.

From the outside in: CORS (Starlette's, so that errors carry its headers too), `Edge`, `Framing`,
then the application. BaseHTTPMiddleware is not used: it cancels handlers and hides disconnects.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_service import logs
from order_service import settings as constants
from order_service.api import problems
from order_service.api.answers import RawHeader
from order_service.api.limits import Quota, limits_of
from order_service.api.problems import Problem

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
        state = begin(scope)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
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
            answer = problems.response(problems.internal_error(), state["request_id"])
            await answer(scope, receive, send_with_headers)


class Framing:
    """Refuses ambiguous framing; bounds the size of a body and the time in which it must arrive.

    uvicorn does neither, and what one HTTP parser forgives another does not: a request that a proxy
    and we would read differently is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        body_bytes_max: int = constants.BODY_BYTES_MAX,
        body_bytes_max_by_path: Mapping[str, int] = MappingProxyType({}),
        receive_timeout_s: float = constants.BODY_RECEIVE_TIMEOUT_S,
    ) -> None:
        """`body_bytes_max_by_path`: by paths without their trailing slash."""
        self.app = app
        self._max = body_bytes_max
        self._max_by_path = body_bytes_max_by_path
        self._timeout_s = receive_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body_bytes_max = self._max_by_path.get(scope["path"].rstrip("/"), self._max)
        problem = _refusal(scope, body_bytes_max)
        if problem is not None:
            if problem.status == 413:
                await _discard(receive)
            await problems.response(problem, scope["state"]["request_id"])(scope, receive, send)
            return
        await self.app(scope, self._bounded(receive, body_bytes_max), send)

    def _bounded(self, receive: Receive, body_bytes_max: int) -> Receive:
        deadline = time.monotonic() + self._timeout_s
        received, complete = 0, False

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits for a disconnect: no deadline
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise too_slow(self._timeout_s) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > body_bytes_max:
                if not complete:
                    await _discard(receive)
                raise _too_large(body_bytes_max)
            return message

        return bounded


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


def too_slow(timeout_s: float) -> Problem:
    detail = f"The body did not arrive within {timeout_s:g} s."
    return Problem(408, "about:blank", detail, {"Connection": "close"})


def _too_large(body_bytes_max: int) -> Problem:
    detail = f"A body may have at most {body_bytes_max} bytes."
    return Problem(413, "about:blank", detail, {"Connection": "close"}, max_bytes=body_bytes_max)


async def _discard(receive: Receive) -> None:
    """Reads on for a while: a client that is still sending when the connection closes is told of a
    reset, and never of the answer."""
    left = constants.BODY_DISCARD_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(constants.BODY_DISCARD_TIMEOUT_S):
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


def begin(scope: Scope) -> dict[str, Any]:
    """The request's state: its id and the limits that it will be counted against."""
    state: dict[str, Any] = scope.setdefault("state", {})
    request_id = state["request_id"] = _request_id(scope)
    logs.REQUEST_ID.set(request_id)  # uvicorn runs each request in a task of its own
    state["quotas"] = []
    return state


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else _new_id()
    return _new_id()


def _new_id() -> str:
    return token_hex(16)


def edge_headers(scope: Scope, state: Mapping[str, Any]) -> list[RawHeader]:
    """Raw headers, since each answer gets them."""
    path = scope["path"]
    docs = path == "/docs" or path.startswith("/docs/")
    policy = DOCS_CONTENT_SECURITY_POLICY if docs else CONTENT_SECURITY_POLICY
    quotas = state["quotas"] or [_peeked(scope)]
    headers = [
        (b"x-request-id", state["request_id"].encode()),
        *_ALWAYS,
        (b"content-security-policy", policy),
        (b"ratelimit-policy", ", ".join([quota.policy for quota in quotas]).encode()),
        (b"ratelimit", ", ".join([quota.state for quota in quotas]).encode()),
    ]
    if scope["scheme"] == "https":
        headers.append(_STRICT_TRANSPORT)
    return headers


def _peeked(scope: Scope) -> Quota:
    connection = HTTPConnection(scope)
    return limits_of(connection).peek(connection, scope["method"])
