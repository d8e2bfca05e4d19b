"""The fast path: ordinary requests on the busiest routes, answered without FastAPI and ASGI.

Routing, dependencies and layers of middleware took four fifths of FastAPI's time for such a
request. Behind ASGI, uvicorn's scope, messages and two writes per response took a quarter of the
rest. So a connection calls the fast path as soon as it has read a head.

A request that is ordinary in every respect is admitted (`admission.Admission`) and answered by the
same functions as on FastAPI's route, in the same order, with the same headers. FastAPI, which also
documents the routes, gets every other request: one with a query string, a preference, a header
given twice, another media type, or a request ahead of it on the connection. The head alone decides,
before anything is counted or read. tests/integration/web/test_fast_path.py compares both ways.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

from fastapi import FastAPI

from order_service import limits
from order_service.accounts.api_keys import PREFIX
from order_service.telemetry import logging as logs
from order_service.telemetry import tracing
from order_service.telemetry.metrics import HTTP_PROBLEMS
from order_service.web import request_metrics
from order_service.web.admission import Admission
from order_service.web.client_address import Client
from order_service.web.compression import coding_of, compressed_reply
from order_service.web.identity import Caller
from order_service.web.problems import problem as problems
from order_service.web.rate_limits import Quota, quota_values
from order_service.web.response_headers import request_id_of
from order_service.web.responses import RawHeader, Reply

# Headers that the fast path does not implement although they may change the response.
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


@dataclass(slots=True)
class ParsedRequest:
    """An admitted request, for a route. `order_id`: from the path, if it has one. `headers`: each
    was given once; names in lower case."""

    app: FastAPI
    request_id: str
    caller: Caller
    order_id: UUID | None
    headers: Mapping[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class FastRoute(NamedTuple):
    """A route on the fast path. `group`: of its rate limits; `path`: its path in FastAPI; `handle`
    returns what FastAPI's route would answer, or raises what that would raise."""

    group: str
    path: str
    handle: Callable[[ParsedRequest], Awaitable[Reply]]


@dataclass(slots=True)
class RequestHead:
    """The head of an ordinary request. Either `caller` is set or `refusal` is the error that
    answers it, or both. `began`: by `perf_counter`."""

    route: FastRoute
    method: str
    order_id: UUID | None
    headers: dict[bytes, bytes]
    request_id: str
    began: float
    quotas: list[Quota]
    scheme: str
    caller: Caller | None = None
    refusal: Exception | None = None


class _StubEvent:
    """In place of an `asyncio.Event` that no task waits for."""

    def set(self) -> None:
        pass


class FastRequest:
    """A request on the fast path, with the attributes of uvicorn's `RequestResponseCycle` that
    uvicorn reads and sets."""

    message_event = _StubEvent()

    def __init__(self, fast_path: "FastPath", head: RequestHead, keep_alive: bool) -> None:
        self.fast_path = fast_path
        self.head = head
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None  # sends the response
        self.cut_short = False  # refused while the client was still sending
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.disconnected = False

    def append(self, piece: bytes) -> None:
        """Adds a piece of the body. Raises Problem 503."""
        self.body += piece
        self.fast_path.admission.concurrency.add_body_bytes(len(piece))

    def release_body(self) -> None:
        self.fast_path.admission.concurrency.body_bytes -= len(self.body)


class FastPath:
    """In front of the whole of `app`, which has an `Admission` in its state.

    `routes`: by method and by whether the path names an order.
    """

    def __init__(self, app: FastAPI, routes: Mapping[tuple[str, bool], FastRoute]) -> None:
        self._app = app
        self._routes = routes
        self.admission: Admission = app.state.admission

    # --- the head ---------------------------------------------------------------------------------

    def begin(
        self, method: str, url: bytes, client: Client, fields: Sequence[RawHeader]
    ) -> RequestHead | None:
        """The head of an ordinary request, admitted or refused. None for any other request, which
        is not counted. `fields`: names in lower case."""
        order = None if url == _ORDERS else _ORDER.fullmatch(url)
        route = self._routes.get((method, order is not None))
        if route is None or (order is None and url != _ORDERS):
            return None
        headers = dict(fields)
        if len(headers) != len(fields) or not self._is_ordinary(method, headers):
            return None
        began = perf_counter()
        order_id = UUID(int=int(b"".join(order.groups()), 16)) if order else None
        token = headers[b"authorization"][len(_BEARER) :].decode("latin-1").strip()
        key_caller = None
        if token.startswith(PREFIX):
            key_caller = self.admission.key_caller(token)
            if key_caller is None:  # FastAPI's route waits for the database
                return None
        request_id = request_id_of(headers.get(b"x-request-id"))
        head = RequestHead(
            *(route, method, order_id, headers, request_id, began, [], client.scheme, key_caller)
        )
        try:
            self._admit(head, client.host, token)
        except Exception as error:  # `answer` answers it under the request's id
            head.refusal = error
        return head

    def _is_ordinary(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        return (
            b"host" in headers
            and headers.get(b"authorization", b"").startswith(_BEARER)
            and _UNUSUAL.isdisjoint(headers)
            and (b"origin" not in headers or headers[b"origin"] in self.admission.cors)
            and (_is_whole_json(headers) if method != "GET" else b"content-length" not in headers)
        )

    def _admit(self, head: RequestHead, host: str | None, token: str) -> None:
        """Raises Problem 401, 429, 503."""
        admission, group = self.admission, head.route.group
        if head.caller is None:
            admission.count_address(head.quotas, group, host)
        admission.check_room(group)
        if head.caller is None:
            head.caller = admission.authenticate(token)
        admission.count_user(head.quotas, group, head.caller)

    # --- the response -----------------------------------------------------------------------------

    async def answer(self, head: RequestHead, body: bytes) -> tuple[int, bytes]:
        """The status, and the response after its status line. Never raises. Runs in a task of its
        own, whose logs belong to this request from then on."""
        logs.begin_request()
        logs.REQUEST_ID.set(head.request_id)
        if head.caller is not None:
            logs.USER_ID.set(head.caller.user_id)
        field = head.headers.get(b"traceparent")
        traceparent = tracing.traceparent_of(field.decode("latin-1")) if field else None
        if tracing.is_on():
            reply = await self._traced(head, body, traceparent)
        else:
            logs.TRACEPARENT.set(traceparent)
            reply = await self._reply(head, body)
        request_metrics.answered(head.method, head.route.path, reply.status, head.began)
        accepted = head.headers.get(b"accept-encoding")
        if accepted is not None and head.method == "GET":
            coding = coding_of(accepted)
            reply = await compressed_reply(reply, coding) if coding else reply
        lines = self.admission.header_lines(
            head.request_id, quota_values(head.quotas), head.headers.get(b"origin"), head.scheme
        )
        return reply.status, f"{reply.lines()}{lines}\r\n".encode("latin-1") + reply.body

    async def _traced(self, head: RequestHead, body: bytes, parent: str | None) -> Reply:
        with request_metrics.request_span(head.method, parent) as span:
            reply = await self._reply(head, body)
            tracing.answered(span, head.method, head.route.path, reply.status)
            return reply

    async def _reply(self, head: RequestHead, body: bytes) -> Reply:
        route, caller = head.route, head.caller
        try:
            if head.refusal is not None:
                raise head.refusal
            assert caller is not None, "an admitted request has a caller"
            parsed = ParsedRequest(
                self._app, head.request_id, caller, head.order_id, head.headers, body
            )
            active = self.admission.concurrency.of(route.group)
            active.enter()
            try:
                return await route.handle(parsed)
            finally:
                active.leave()
        except Exception as error:
            problem = self.admission.problem_of(error, caller)
            HTTP_PROBLEMS[head.method, route.path, problem.name].inc()
            return problems.reply(problem, head.request_id)


def _is_whole_json(headers: Mapping[bytes, bytes]) -> bool:
    """A JSON body whose length is known and within the limit."""
    length = headers.get(b"content-length", b"")
    return (
        headers.get(b"content-type") == b"application/json"
        and _LENGTH.fullmatch(length) is not None
        and int(length) <= limits.BODY_BYTES_MAX
    )
