"""One client's connection to a web process: uvicorn's, bounded in size and time.

uvicorn takes a request's head of any size, for as long as a client likes to send it; keeps an
answer that nobody fetches for ever; and answers what it cannot read in words of its own, in the
midst of an earlier answer. Here a head has its limits and its deadline, an answer that is not
fetched is dropped, and every refusal is a problem document. What a body may cost is the
application's business (`middleware.Framing`); of what the fast lane takes it is ours. So is what
comes beside a body: chunk sizes, chunk extensions, trailer fields, and requests behind one another.

An application that has too much to do sheds requests here, before anything is made of them: or what
it says no to would cost it a good part of what it could do. Then the connection is not listened to
for a while, less than Retry-After, so that even those who come again at once cost little.
"""

import asyncio
import resource
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from order_service import limits
from order_service.web import connection_problems, middleware, request_metrics
from order_service.web.concurrency import overloaded
from order_service.web.fast_path import FastLane, Taken
from order_service.web.problems.problem import Problem

# Seconds that a client may take for something, and a number that tells it from the next such thing.
_Awaited = tuple[float, int]
_RESET = struct.pack("ii", 1, 0)  # linger, for no second


class Connection(HttpToolsProtocol):
    """Made by uvicorn for each connection: `--http order_service.web.connection:Connection`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deaf = False  # refused: nothing that comes is read any more
        self._problem: Problem | None = None  # why the parser was told to stop
        self._messages = 0
        self._in_message = False
        self._in_head = False
        self._head_may_be_large = False
        self._trailer_fields = 0
        self._trailer_bytes = 0
        self._piece_body_bytes = 0  # of the piece that is being read
        # Of an unfinished message, less the piece in which it began:
        self._overhead_bytes = 0  # all but its body
        self._bytes_since_body = 0  # the part of them that no byte of a body has followed
        self._awaited: _Awaited | None = None
        self._awaited_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._at_work: RequestResponseCycle | Taken | None = None
        self._lane: FastLane | None = getattr(self.app, "lane", None)
        self._arriving: Taken | None = None  # its body has yet to come, or more of it

    # --- what the server calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn says Transport
        if len(self.connections) > connections_max():
            self._refuse(
                overloaded(
                    "Too many connections are open here: try again.", **connection_problems.CLOSE
                )
            )
        else:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        # Of requests that came behind one another uvicorn tells the last one only; the one at work
        # would go on writing to what is closed.
        if self._at_work is not None:
            self._at_work.disconnected = True
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._nothing_arrives()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) > limits.HEAD_BYTES_MAX:
            # The parser keeps a field until it ends: in small pieces, that is known in time.
            for start in range(0, len(data), limits.HEAD_BYTES_MAX):
                self.data_received(data[start : start + limits.HEAD_BYTES_MAX])
            return
        if self._deaf:
            return
        message, went_on = self._messages, self._in_head
        self._head_may_be_large = went_on
        self._piece_body_bytes = 0
        super().data_received(data)
        if message == self._messages and self._in_message:
            self._count_overhead(len(data), went_on)
        else:
            self._overhead_bytes = self._bytes_since_body = 0

    def _count_overhead(self, size: int, was_in_head: bool) -> None:
        """Of a piece of so many bytes, in which the message neither began nor ended.

        The parser keeps a field that has not ended, and drops chunk sizes and extensions; a server
        limits their length all the same (RFC 9112 7.1.1)."""
        if self._arriving is not None or self._deaf:
            return  # the body of a request that says how long it is
        body_bytes = self._piece_body_bytes
        self._overhead_bytes += size - body_bytes
        if body_bytes or was_in_head != self._in_head:
            self._bytes_since_body = 0
        else:
            self._bytes_since_body += size
        if self._bytes_since_body > limits.HEAD_BYTES_MAX:
            self._refuse(connection_problems.head_too_large())
        elif self._overhead_bytes > limits.BODY_OVERHEAD_BYTES_MAX:
            self._refuse(connection_problems.overhead_too_large())

    # --- what the parser calls --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """As uvicorn's, which would make a scope: the lane needs none."""
        self._messages += 1
        self._in_message = self._in_head = True
        self._trailer_fields = self._trailer_bytes = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, which takes trailer fields for headers. They are dropped: what decides
        about a request comes before its body (RFC 9110 6.5.1)."""
        if not self._in_head:
            self._drop_trailer(name, value)
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _drop_trailer(self, name: bytes, value: bytes) -> None:
        self._trailer_fields += 1
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_fields > limits.HEADERS_MAX or self._trailer_bytes > limits.HEAD_BYTES_MAX:
            self._end_parser(connection_problems.head_too_large())

    def on_headers_complete(self) -> None:
        self._in_head = False
        problem = self._objection()
        if problem is not None:
            self._end_parser(problem)
        method = self.parser.get_method().decode()
        host = self.client[0] if self.client else None
        shed = self._shed_answer(method, host)
        taken = self._taken(method, host) if shed is None else None
        if shed is not None:
            self.transport.write(shed)
            self.on_response_complete()
            self.flow.pause_reading()
            self._pause = self.loop.call_later(limits.SHED_PAUSE_S, self.flow.resume_reading)
        elif taken is not None:
            self._take(taken)
        else:
            self._leave_to_application()

    def _leave_to_application(self) -> None:
        url, fields, continues = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # which makes the scope, around a list of headers
        self.url, self.expect_100_continue = url, continues
        self.headers += fields
        super().on_headers_complete()

    def _end_parser(self, problem: Problem) -> None:
        """To be called from within: then `feed_data` raises, and uvicorn calls
        `send_400_response`."""
        self._problem = problem
        raise ValueError(problem.detail)

    def on_body(self, body: bytes) -> None:
        if self._arriving is None:
            self._piece_body_bytes += len(body)
            super().on_body(body)
            return
        try:
            self._arriving.hold(body)
        except Problem as problem:
            self._refuse(problem)

    def on_message_complete(self) -> None:
        self._in_message = False
        taken = self._arriving
        super().on_message_complete()
        if taken is not None:
            self._nothing_arrives()
            self._answer_in_lane(taken)

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer, of which each request would make and end one: `_look`
        closes connections that are idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:  # what is read now would only wait behind these
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._problem or connection_problems.unreadable())

    def _objection(self) -> Problem | None:
        """To the head that has been read."""
        if len(self.headers) > limits.HEADERS_MAX:
            return connection_problems.head_too_large()
        if self._head_may_be_large:
            fields = sum(len(name) + len(value) for name, value in self.headers)
            if len(self.url) + fields > limits.HEAD_BYTES_MAX:
                return connection_problems.head_too_large()
        if len(self.pipeline) >= limits.PIPELINED_MAX:
            # A client that sends so many repeats those whose answers do not come (RFC 9112 9.3.2).
            return overloaded(
                "Too many requests came behind one another.", **connection_problems.CLOSE
            )
        if self.parser.should_upgrade() and _announces_body(self.headers):
            # httptools takes what follows for the other protocol, and gives the body to nobody.
            return connection_problems.body_with_upgrade()
        return None

    def _shed_answer(self, method: str, host: str | None) -> bytes | None:
        """None: the application is to see the request. It does see the first one of a connection,
        behind which there is nobody yet who would take a body."""
        if self._lane is None or self.cycle is None or not self.cycle.response_complete:
            return None
        if self.expect_100_continue:  # and would now be sent, or not: nobody could tell
            return None
        path = self.url.partition(b"?")[0].decode("latin-1")
        return self._lane.shed(method, path, host, self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    # --- the fast lane ----------------------------------------------------------------------------

    def _taken(self, method: str, host: str | None) -> Taken | None:
        """The request, if the lane takes it. None where it is left to the application, as is what
        comes before the answer to the last one has been sent."""
        lane, busy = self._lane, self.cycle is not None and not self.cycle.response_complete
        if lane is None or busy or self.flow.write_paused or self.scheme != "http":
            return None
        if self.parser.get_http_version() != "1.1":
            return None
        begun = lane.begin(method, self.url, host, self.headers)
        return None if begun is None else Taken(lane, begun, self.parser.should_keep_alive())

    def _take(self, taken: Taken) -> None:
        self.cycle = taken  # type: ignore[assignment]  # all of one that uvicorn looks at
        if taken.begun.refusal is None and taken.begun.method != "GET":
            self._arriving = taken
        else:
            self._answer_in_lane(taken)

    def _nothing_arrives(self) -> None:
        if self._arriving is not None:
            self._arriving.let_go()
            self._arriving = None

    def _answer_in_lane(self, taken: Taken) -> None:
        self._at_work = taken
        task = taken.task = self.loop.create_task(self._answered_in_lane(taken))
        self.tasks.add(task)

    async def _answered_in_lane(self, taken: Taken) -> None:
        try:
            status, rest = await taken.lane.answer(taken.begun, bytes(taken.body))
        except BaseException:  # nobody may wait for an answer that does not come
            self.transport.abort()
            raise
        finally:
            self.tasks.discard(taken.task)  # set before it began
        if taken.disconnected:
            return
        taken.response_started = taken.response_complete = True
        lines = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not taken.keep_alive:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((STATUS_LINE[status], *lines, rest)))
        if taken.cut_short:
            self._close_to_who_sends()
        elif not taken.keep_alive:
            self.transport.close()
        self.on_response_complete()

    # --- what is done about it --------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Nothing more is read, and this is the last answer; unless an earlier request is at work:
        then its answer is, which nobody must take for another's."""
        self._deaf = True
        cycle = self.cycle
        if self._arriving is not None:  # answered in the request's own name
            taken = self._arriving
            self._nothing_arrives()
            taken.begun.refusal, taken.cut_short = problem, True
            self._answer_in_lane(taken)
        elif cycle is None or (cycle.response_complete and not self._in_answered_body()):
            self._answer(problem)
        elif cycle.response_complete:
            self.transport.close()
        elif self.pipeline or cycle.response_started or not cycle.more_body:
            cycle.keep_alive = False
        else:  # the request's own body broke off: whoever waits for it learns that it has gone
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(problem)

    def _in_answered_body(self) -> bool:
        return not self._in_head and self.cycle.more_body

    def _answer(self, problem: Problem) -> None:
        request_metrics.refused("", request_metrics.UNREAD, problem)
        self.transport.write(middleware.whole_answer(problem))
        self._close_to_who_sends()

    def _close_to_who_sends(self) -> None:
        """Closed at once, a client that is still sending would be told of a reset, and never of
        what was answered."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unset_keepalive_if_required()
        self._set_timer(limits.BODY_DISCARD_TIMEOUT_S, self.transport.abort)

    def _set_timer(self, delay_s: float, then: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(delay_s, then)

    # --- deadlines --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Once a second: whether the client has been waited for too long. A timer for each request
        would cost every request."""
        now, awaited = self.loop.time(), self._awaited_now()
        if awaited is None or awaited != self._awaited:
            self._awaited, self._awaited_since = awaited, now
        elif now - self._awaited_since >= awaited[0]:
            self._give_up()
            return
        self._set_timer(limits.CONNECTION_WATCH_S, self._look)

    def _awaited_now(self) -> _Awaited | None:
        """None while it is the application that waits, or is waited for."""
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
            # A close would wait until the client has taken all of it; and without the reset the
            # system would keep for it what it holds already.
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        elif self._in_head:
            self._refuse(connection_problems.head_too_slow())
        elif self._arriving is not None:
            self._refuse(middleware.too_slow())
        else:
            self.transport.close()


def connections_max() -> int:
    """In one process; the rest of its descriptors is for servers, files and what else it opens."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours = max(descriptors // 2, descriptors - limits.DESCRIPTORS_KEPT)
    return min(limits.CONNECTIONS_MAX, ours)


def _announces_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )
