"""The responses of a connection to requests that the application does not see."""

from http import HTTPStatus

from order_service import limits
from order_service.web.problems import problem as problems
from order_service.web.problems.problem import Problem

CLOSE = {"Connection": "close"}


def whole_response(problem: Problem, request_id: str, header_lines: str) -> bytes:
    """The whole response as it is on the wire. `header_lines`: those beside the problem's own."""
    reply = problems.reply(problem, request_id)
    status_line = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    head = f"{status_line}{reply.lines()}{header_lines}\r\n"
    return head.encode("latin-1") + reply.body


def unreadable() -> Problem:
    return Problem(400, "malformed-request", "This is not an HTTP request.", CLOSE)


def head_too_large() -> Problem:
    detail = (
        f"Address and headers may have at most {limits.HEAD_BYTES_MAX} bytes "
        f"and {limits.HEADERS_MAX} headers; so may the trailer fields of a body."
    )
    return Problem(431, "about:blank", detail, CLOSE, max_bytes=limits.HEAD_BYTES_MAX)


def head_too_slow() -> Problem:
    detail = f"The headers did not arrive within {limits.HEAD_RECEIVE_TIMEOUT_S:g} s."
    return Problem(408, "about:blank", detail, CLOSE)


def body_too_slow() -> Problem:
    detail = f"The body did not arrive within {limits.BODY_RECEIVE_TIMEOUT_S:g} s."
    return Problem(408, "about:blank", detail, CLOSE)


def overhead_too_large() -> Problem:
    bytes_max = limits.BODY_OVERHEAD_BYTES_MAX
    detail = f"The sizes and extensions of a body's chunks may have at most {bytes_max} bytes."
    return Problem(413, "about:blank", detail, CLOSE, max_bytes=bytes_max)
