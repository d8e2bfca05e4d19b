"""The fast lane: ordinary requests on the busiest routes, answered without FastAPI's machinery. May
import middleware, identity, limits, body, problems.

Routing among fifty routes, dependencies and seven layers of middleware cost more than all that the
service itself does for such a request (a cached order: 1,000/s through them, 7,600/s here, in one
run). So the application asks here first. A request that is ordinary in every respect is counted,
authenticated and answered by the same functions as FastAPI's route for it, in the same order, with
the same headers. Whatever is not (a query string, a preference, a header given twice, another media
type) goes to FastAPI, which also documents the routes. The decision is made on the request's head
alone, before anything is counted or read; tests/integration/test_lane.py holds both ways against
each other.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from order_service import settings as constants
from order_service.api import middleware, problems
from order_service.api.identity import Caller, authenticated, told
from order_service.api.limits import address_of, limits_of
from order_service.api.middleware import RawHeader

logger = logging.getLogger(__name__)

# Headers of which the lane knows nothing although they may change the answer.
_UNUSUAL = frozenset((b"consistency-token", b"content-encoding", b"prefer", b"transfer-encoding"))
_ORDER = re.compile("/orders/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/")
_ORDERS = "/orders/"
_LENGTH = re.compile(b"[1-9][0-9]{0,9}")
_VARY_ORIGIN: RawHeader = (b"vary", b"Origin")


@dataclass(frozen=True, slots=True)
class Asked:
    """An ordinary request of a known caller. `order_id`: as in the path; empty where it has none.
    `headers`: each was given once."""

    connection: HTTPConnection
    caller: Caller
    order_id: str
    headers: Mapping[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


Answering = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Ordinary:
    """What the head of an ordinary request says."""

    answering: Answering
    order_id: str
    headers: dict[bytes, bytes]


class FastLane:
    """Before the whole of `app`: to be asked for every request.

    `routes`: those that it serves, by method and by whether the path names an order.
    """

    def __init__(
        self,
        app: FastAPI,
        routes: Mapping[tuple[str, bool], Answering],
        allowed_origins: tuple[str, ...],
    ) -> None:
        self._app = app
        self._routes = routes
        self._origins = {origin.encode() for origin in allowed_origins}
        self._exposed = ", ".join(middleware.CORS_EXPOSED_HEADERS).encode()

    async def takes(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the request was ordinary, and has been answered."""
        ordinary = self._ordinary(scope) if scope["type"] == "http" else None
        if ordinary is None:
            return False
        scope["app"] = self._app
        middleware.begin(scope)
        try:
            response = await self._response(scope, receive, ordinary)
        except ClientDisconnect:
            logger.info("client went away: request %s", scope["state"]["request_id"])
            return True
        headers = [*response.raw_headers, *middleware.edge_headers(scope)]
        headers += self._cors(ordinary.headers.get(b"origin"))
        start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": response.body})
        return True

    def _ordinary(self, scope: Scope) -> _Ordinary | None:
        path, method = scope["path"], scope["method"]
        order = _ORDER.fullmatch(path)
        answering = self._routes.get((method, order is not None))
        if answering is None or (order is None and path != _ORDERS) or scope["query_string"]:
            return None
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers or name in _UNUSUAL:
                return None
            headers[name] = value
        if b"host" not in headers or not headers.get(b"authorization", b"").startswith(b"Bearer "):
            return None
        if headers.get(b"origin", b"") not in self._origins and b"origin" in headers:
            return None
        if not _is_whole_json(headers) if method != "GET" else b"content-length" in headers:
            return None
        return _Ordinary(answering, order[1] if order else "", headers)

    async def _response(self, scope: Scope, receive: Receive, ordinary: _Ordinary) -> Response:
        connection = HTTPConnection(scope)
        caller = None
        try:
            limits_of(connection).hit(connection, "address", address_of(connection))
            token = ordinary.headers[b"authorization"][len(b"Bearer ") :].decode("latin-1")
            caller = authenticated(connection, token.strip())
            body = b"" if scope["method"] == "GET" else await _body(receive)
            headers = ordinary.headers
            return await ordinary.answering(
                Asked(connection, caller, ordinary.order_id, headers, body)
            )
        except ClientDisconnect:
            raise
        except Exception as error:
            problem = problems.of_exception(told(caller, error) if caller else error)
            if problem is None:
                logger.exception("unhandled: request %s", scope["state"]["request_id"])
                problem = problems.internal_error()
            return problems.response(problem, scope["state"]["request_id"])

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


async def _body(receive: Receive) -> bytes:
    """The server counts its bytes: they are as many as Content-Length says."""
    try:
        async with asyncio.timeout(constants.BODY_RECEIVE_TIMEOUT_S):
            message = await receive()
            chunks = [message.get("body", b"")]
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
                chunks.append(message.get("body", b""))
    except TimeoutError:
        raise middleware.too_slow(constants.BODY_RECEIVE_TIMEOUT_S) from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return b"".join(chunks)
