"""A connection's parser: uvicorn's protocol, with bounds on heads, trailer fields and chunk sizes,
and without other protocols."""

from abc import abstractmethod
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from order_service import limits
from order_service.web import connection_problems
from order_service.web.client_address import Client
from order_service.web.problems.problem import Problem


class ParsedConnection(HttpToolsProtocol):
    """Calls `_refuse` for bytes that are no request within the bounds, and `_begin_request` for
    each head that is complete."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._refused = False  # everything that still arrives is dropped
        self._problem: Problem | None = None  # why we stopped the parser
        self._messages = 0
        self._in_message = False
        self._in_head = False
        self._head_may_be_large = False
        self._head_again: bytes | None = None  # of a request with Upgrade, for the next parser
        self._trailer_fields = 0
        self._trailer_bytes = 0
        self._piece_body_bytes = 0  # of the piece that is being parsed
        # Of an unfinished message, without the piece in which it began:
        self._overhead_bytes = 0  # everything except its body
        self._bytes_since_body = 0  # the part after the last byte of the body

    @abstractmethod
    def _begin_request(self) -> None:
        """Starts the request whose head has been read. May call `_end_parser`."""

    @abstractmethod
    def _refuse(self, problem: Problem) -> None:
        """Stops reading; the problem is the last response."""

    @abstractmethod
    def _body_is_counted(self) -> bool:
        """Whether the body that is arriving has a known length."""

    # --- called by the server ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if len(data) > limits.HEAD_BYTES_MAX:
            # The parser keeps a field until it ends: small pieces reveal a long one in time.
            for start in range(0, len(data), limits.HEAD_BYTES_MAX):
                self.data_received(data[start : start + limits.HEAD_BYTES_MAX])
            return
        if self._refused:
            return
        message, was_in_head = self._messages, self._in_head
        self._head_may_be_large = was_in_head
        self._piece_body_bytes = 0
        self._parse(data)
        if message == self._messages and self._in_message:
            self._count_overhead(len(data), was_in_head)
        else:
            self._overhead_bytes = self._bytes_since_body = 0

    def _parse(self, data: bytes) -> None:
        """Like uvicorn's `data_received`, but Upgrade is ignored (RFC 9110 7.8).

        httptools takes all that follows such a head, a body too, for another protocol. So a new
        parser reads the head without the field, and then the rest."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            head, self._head_again = self._head_again, None
            if head is not None:  # None after CONNECT, behind which there is no request
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
                self._parse(head + data[stop.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(self._problem or connection_problems.unreadable())

    def _count_overhead(self, size: int, was_in_head: bool) -> None:
        """Counts a piece of `size` bytes in which the message neither began nor ended.

        The parser keeps an unfinished field and drops chunk sizes and extensions; a server must
        limit their length all the same (RFC 9112 7.1.1)."""
        if self._refused or self._body_is_counted():
            return  # a body of known length has no overhead
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

    # --- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Like uvicorn's, which would also make a scope: the fast path needs none."""
        self._messages += 1
        self._in_message = self._in_head = True
        self._trailer_fields = self._trailer_bytes = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Like uvicorn's, which takes trailer fields for headers. Here they are dropped: what
        decides about a request comes before its body (RFC 9110 6.5.1)."""
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
        if len(self.headers) > limits.HEADERS_MAX or (
            self._head_may_be_large and self._is_head_too_large()
        ):
            self._end_parser(connection_problems.head_too_large())
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._head_again = self._without_upgrade()
        else:
            self._begin_request()

    def _leave_to_application(self, client: Client) -> None:
        """Starts the request by uvicorn, whose scope and cycle nothing else needs."""
        url, fields, continues = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the scope, around a new list of headers
        self.url, self.expect_100_continue = url, continues
        self.headers += fields
        if client.host is not None and self.client is not None:
            self.scope["client"] = (client.host, self.client[1])
            self.scope["scheme"] = client.scheme
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._head_again is None:
            super().on_message_complete()

    def _is_head_too_large(self) -> bool:
        fields = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.url) + fields > limits.HEAD_BYTES_MAX

    def _end_parser(self, problem: Problem) -> None:
        """Stops the parser from inside a callback: `feed_data` raises, and `_parse` refuses."""
        self._problem = problem
        raise ValueError(problem.detail)

    def _without_upgrade(self) -> bytes:
        """The whole head without its Upgrade field."""
        line = b"%b %b HTTP/%b\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        return b"".join((line, *fields, b"\r\n"))
