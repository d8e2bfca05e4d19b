"""The two ASGI middlewares around the application: `Edge` outside, `Framing` inside.

BaseHTTPMiddleware is not used: it cancels handlers and hides disconnects.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_service import limits
from order_service.telemetry import logging as logs
from order_service.telemetry.tracing import traceparent_of
from order_service.web.admission import Admission
from order_service.web.concurrency import ActiveRequests, Concurrency
from order_service.web.connection_problems import body_too_slow
from order_service.web.head_requests import HeadSent
from order_service.web.problems import problem as problems
from order_service.web.problems.problem import Problem
from order_service.web.response_headers import request_id_of

logger = logging.getLogger(__name__)

_DIGITS = re.compile(b"[0-9]{1,18}")


class Edge:
    """Adds the headers that every response carries, answers CORS preflights, and answers errors
    that no handler inside has answered."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        preflight = self._admission.preflight(scope)
        if preflight is not None:
            await preflight(scope, receive, send)
            return
        state = _begin(scope)
        origin = _first(scope, b"origin")
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _leave(state)
                added = self._admission.headers(scope, state["request_id"], state["quotas"], origin)
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except HeadSent:
            pass
        except ClientDisconnect:
            logger.info("client went away")
        except Exception as error:
            problem = self._admission.problem_of(error, state.get("caller"))
            if started:
                # The server then closes the connection, so that the client does not take half a
                # response for a whole one.
                raise
            await problems.response(problem, state)(scope, receive, send_with_headers)
        finally:
            _leave(state)


def _begin(scope: Scope) -> dict[str, Any]:
    """The request's state: its id, and the limits that will count it."""
    state: dict[str, Any] = scope.setdefault("state", {})
    request_id = state["request_id"] = request_id_of(_first(scope, b"x-request-id"))
    logs.REQUEST_ID.set(request_id)  # uvicorn runs each request in a task of its own
    traceparent = _first(scope, b"traceparent")
    if traceparent is not None and logs.TRACEPARENT.get() is None:  # no span of ours has one
        logs.TRACEPARENT.set(traceparent_of(traceparent.decode("latin-1")))
    state["quotas"] = []
    return state


def _first(scope: Scope, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return None


def _leave(state: dict[str, Any]) -> None:
    """The request is not active any more once its response begins: the client decides how long the
    rest takes."""
    active: ActiveRequests | None = state.pop("active", None)
    if active is not None:
        active.leave()


class Framing:
    """Refuses ambiguous framing; limits the size of a body and the time in which it arrives.

    uvicorn does neither. HTTP parsers differ in what they forgive: a request that a proxy and this
    service might read differently is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        concurrency: Concurrency,
        body_bytes_max: int = limits.BODY_BYTES_MAX,
        body_bytes_max_by_path: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`body_bytes_max_by_path`: by paths without their trailing slash."""
        self.app = app
        self._concurrency = concurrency
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
        body = _Body(receive, scope["state"], self._concurrency, body_bytes_max)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._concurrency.body_bytes -= body.received


class _Body:
    """The body of one request. `received`: bytes so far."""

    def __init__(
        self,
        receive: Receive,
        state: Mapping[str, Any],
        concurrency: Concurrency,
        bytes_max: int,
    ) -> None:
        self._receive = receive
        self._state = state
        self._concurrency = concurrency
        self._bytes_max = bytes_max
        self._deadline = time.monotonic() + limits.BODY_RECEIVE_TIMEOUT_S
        self._complete = False
        self.received = 0

    async def receive(self) -> Message:
        """ASGI's `receive`. Raises Problem 408, 413, 503."""
        if self._complete:
            return await self._receive()  # waits for a disconnect: no deadline
        message = await self._next()
        size = len(message.get("body", b""))
        self.received += size
        self._complete = not message.get("more_body", False)
        self._concurrency.add_body_bytes(size)
        if self.received > self._bytes_max:
            if not self._complete:
                await _discard(self._receive)
            raise _too_large(self._bytes_max)
        return message

    async def _next(self) -> Message:
        """The next message. While it waits for the client, the request is not active."""
        active: ActiveRequests | None = self._state.get("active")
        if active is not None:
            active.leave()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                return await self._receive()
        except TimeoutError:
            raise body_too_slow() from None
        finally:
            if active is not None:
                active.enter()


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


def _too_large(body_bytes_max: int) -> Problem:
    detail = f"A body may have at most {body_bytes_max} bytes."
    return Problem(413, "about:blank", detail, {"Connection": "close"}, max_bytes=body_bytes_max)


async def _discard(receive: Receive) -> None:
    """Reads on for a while: a client that is still sending when the connection closes gets a reset
    instead of the response."""
    left = limits.BODY_DISCARD_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.BODY_DISCARD_TIMEOUT_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _malformed(detail: str) -> Problem:
    # What follows on the connection may not be a request.
    return Problem(400, "malformed-request", detail, {"Connection": "close"})
