"""One client's connection to a web process: uvicorn's, with bounds on size and time.

uvicorn takes a request head of any size for as long as the client sends, keeps a response that the
client does not read for ever, and answers unreadable bytes with plain text in the middle of an
earlier response. Here a head has a size limit and a deadline, an unread response is dropped, and
every refusal is a problem document. `middleware.Framing` limits the bodies that go to the
application. This module limits the bodies on the fast path, and everything beside a body: chunk
sizes, chunk extensions, trailer fields, and pipelined requests.

A connection of an overloaded process sheds requests: it answers 503 before the application sees
them, because a refusal by the application would cost a good part of what serving would. It then
pauses reading for less than Retry-After, so that immediate retries cost little.
"""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from order_service import limits
from order_service.web import connection_problems, request_metrics
from order_service.web.admission import Admission
from order_service.web.client_address import Client, TrustedProxies
from order_service.web.concurrency import connections_max, overloaded
from order_service.web.fast_path import FastPath, FastRequest
from order_service.web.parsed_connection import ParsedConnection
from order_service.web.problems.problem import Problem
from order_service.web.rate_limits import address_key
from order_service.web.response_headers import new_request_id, safe_lines

# What the connection waits for: the seconds that the client has, and a number that changes with
# every progress.
_Awaited = tuple[float, int]
_RESET = struct.pack("ii", 1, 0)  # linger for zero seconds


class Connection(ParsedConnection):
    """Made by uvicorn for each connection: `--http order_service.web.connection:Connection`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._awaited: _Awaited | None = None
        self._awaited_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._active: RequestResponseCycle | FastRequest | None = None
        self._fast_path: FastPath | None = getattr(self.app, "fast_path", None)
        self._arriving: FastRequest | None = None  # its body is not complete
        self._peer = Client(None, "http")
        self._counted: str | None = None  # the address under which the connection is counted
        self._proxies: TrustedProxies | None = None  # if the peer is one of them

    # --- called by the server ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn says Transport
        self._peer = Client(self.client[0] if self.client else None, self.scheme or "http")
        has_share = self._fast_path is None or self._enter(self._fast_path.admission)
        if len(self.connections) > connections_max() or not has_share:
            self._refuse(
                overloaded(
                    "Too many connections are open here: try again.", **connection_problems.CLOSE
                )
            )
        else:
            self._watch()

    def _enter(self, admission: Admission) -> bool:
        """Whether the peer's address has room for one more connection. A proxy's always has: its
        connections are those of many clients."""
        proxies = admission.trusted_proxies
        if proxies is not None and proxies.include(self._peer.host):
            self._proxies = proxies
            return True
        self._counted = address_key(self._peer.host)
        return admission.concurrency.connections.enter(self._counted)

    def connection_lost(self, exc: Exception | None) -> None:
        # Of pipelined requests uvicorn marks only the last one as disconnected; the active one
        # would continue to write to the closed connection.
        if self._active is not None:
            self._active.disconnected = True
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._end_arrival()
        if self._counted is not None and self._fast_path is not None:
            self._fast_path.admission.concurrency.connections.leave(self._counted)
            self._counted = None
        super().connection_lost(exc)

    # --- called by the parser ---------------------------------------------------------------------

    def _begin_request(self) -> None:
        if len(self.pipeline) >= limits.PIPELINED_MAX:
            # A client repeats pipelined requests that get no response (RFC 9112 9.3.2).
            detail = "Too many requests are waiting on this connection."
            self._end_parser(overloaded(detail, **connection_problems.CLOSE))
        method = self.parser.get_method().decode()
        client = self._peer
        if self._proxies is not None:
            client = self._proxies.client(client, self.headers)
        shed = self._shed(method, client)
        if shed is not None:
            self.transport.write(shed)
            self.on_response_complete()
            self._pause_reading()
            return
        request = self._fast_request(method, client)
        if request is not None:
            self._start_fast_request(request)
        else:
            self._leave_to_application(client)

    def on_body(self, body: bytes) -> None:
        if self._arriving is None:
            self._piece_body_bytes += len(body)
            super().on_body(body)
            return
        try:
            self._arriving.append(body)
        except Problem as problem:
            self._refuse(problem)

    def on_message_complete(self) -> None:
        request = self._arriving
        super().on_message_complete()
        if request is not None:
            self._end_arrival()
            self._answer_fast(request)

    def on_response_complete(self) -> None:
        """Like uvicorn's, without a keep-alive timer for every request: `_watch` closes idle
        connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:  # more requests would only wait behind these
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()

    def _shed(self, method: str, client: Client) -> bytes | None:
        """The 503 response if there is no room for the request. None sends it on.

        The application sees the first request of a connection in any case: before that, nothing
        here would read a body. It also sees requests of a client that does not read its responses:
        it waits for the client, and `PIPELINED_MAX` bounds what waits behind."""
        previous, fast_path = self.cycle, self._fast_path
        if fast_path is None or previous is None or not previous.response_complete:
            return None
        if self.expect_100_continue or self.flow.write_paused:
            return None
        path = self.url.partition(b"?")[0].decode("latin-1")
        return fast_path.admission.shed(method, path, client, self.headers)

    def _pause_reading(self) -> None:
        self.flow.pause_reading()
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self.loop.call_later(limits.SHED_PAUSE_S, self.flow.resume_reading)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _body_is_counted(self) -> bool:
        return self._arriving is not None

    # --- the fast path ----------------------------------------------------------------------------

    def _fast_request(self, method: str, client: Client) -> FastRequest | None:
        """The request, if the fast path takes it. The application gets all others, among them each
        one that arrives before the previous response has been sent."""
        fast_path, cycle = self._fast_path, self.cycle
        busy = cycle is not None and not cycle.response_complete
        if fast_path is None or busy or self.flow.write_paused:
            return None
        if self.parser.get_http_version() != "1.1":
            return None
        head = fast_path.begin(method, self.url, client, self.headers)
        if head is None:
            return None
        return FastRequest(fast_path, head, self.parser.should_keep_alive())

    def _start_fast_request(self, request: FastRequest) -> None:
        self.cycle = request  # type: ignore[assignment]  # has what uvicorn uses of a cycle
        if request.head.refusal is None and request.head.method != "GET":
            self._arriving = request
        else:
            self._answer_fast(request)

    def _end_arrival(self) -> None:
        if self._arriving is not None:
            self._arriving.release_body()
            self._arriving = None

    def _answer_fast(self, request: FastRequest) -> None:
        self._active = request
        task = request.task = self.loop.create_task(self._respond(request))
        self.tasks.add(task)

    async def _respond(self, request: FastRequest) -> None:
        try:
            status, rest = await request.fast_path.answer(request.head, bytes(request.body))
        except BaseException:  # the client must not wait for a response that never comes
            self.transport.abort()
            raise
        finally:
            self.tasks.discard(request.task)  # set before this runs
        if request.disconnected:
            return
        request.response_started = request.response_complete = True
        lines = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not request.keep_alive:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((STATUS_LINE[status], *lines, rest)))
        if request.cut_short:
            self._close_after_response()
        elif not request.keep_alive:
            self.transport.close()
        self.on_response_complete()

    # --- refusals ---------------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Stops reading; the problem is the last response. If an earlier request is still active,
        its response is the last one, and the client must not take the problem for it."""
        self._refused = True
        cycle = self.cycle
        if self._arriving is not None:  # the fast path answers, under the request's id
            request = self._arriving
            self._end_arrival()
            request.head.refusal, request.cut_short = problem, True
            self._answer_fast(request)
        elif cycle is None or (cycle.response_complete and not self._in_answered_body()):
            self._answer(problem)
        elif cycle.response_complete:
            self.transport.close()
        elif self.pipeline or cycle.response_started or not cycle.more_body:
            cycle.keep_alive = False
        else:  # the body of the active request broke off: to the application a disconnect
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(problem)

    def _in_answered_body(self) -> bool:
        return not self._in_head and self.cycle.more_body

    def _answer(self, problem: Problem) -> None:
        request_metrics.refused("", request_metrics.UNREAD, problem)
        request_id = new_request_id()
        response = connection_problems.whole_response(problem, request_id, safe_lines(request_id))
        self.transport.write(response)
        self._close_after_response()

    def _close_after_response(self) -> None:
        """Closes soon: after a close at once, a client that is still sending gets a reset instead
        of the response."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unset_keepalive_if_required()
        self._set_timer(limits.BODY_DISCARD_TIMEOUT_S, self.transport.abort)

    def _set_timer(self, delay_s: float, then: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(delay_s, then)

    # --- deadlines --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Runs once a second, and gives up on a client that takes too long. A timer for every
        request would cost every request."""
        now, awaited = self.loop.time(), self._awaited_now()
        if awaited is None or awaited != self._awaited:
            self._awaited, self._awaited_since = awaited, now
        elif now - self._awaited_since >= awaited[0]:
            self._give_up()
            return
        self._set_timer(limits.CONNECTION_WATCH_S, self._watch)

    def _awaited_now(self) -> _Awaited | None:
        """None while the client has nothing to do, or the application waits for it."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            return limits.ANSWER_TAKE_TIMEOUT_S, unsent
        if self.cycle is None or self.cycle.response_complete:
            return limits.HEAD_RECEIVE_TIMEOUT_S, -self._messages
        if self._arriving is not None:
            return limits.BODY_RECEIVE_TIMEOUT_S, -self._messages
        return None

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():
            # A close would wait until the client has read everything. Without the reset the kernel
            # would keep what it has buffered.
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        elif self._in_head:
            self._refuse(connection_problems.head_too_slow())
        elif self._arriving is not None:
            self._refuse(connection_problems.body_too_slow())
        else:
            self.transport.close()
