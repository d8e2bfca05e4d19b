"""What a connection answers to a request that it does not read to its end."""

from order_service import limits
from order_service.web.problems.problem import Problem

CLOSE = {"Connection": "close"}


def unreadable() -> Problem:
    return _refused("This is no HTTP request.")


def body_with_upgrade() -> Problem:
    return _refused("No other protocol is spoken here: send a body without Upgrade.")


def _refused(detail: str) -> Problem:
    return Problem(400, "malformed-request", detail, CLOSE)


def head_too_large() -> Problem:
    detail = (
        f"Address and headers may have at most {limits.HEAD_BYTES_MAX} bytes "
        f"and {limits.HEADERS_MAX} headers; so may the trailer fields of a body."
    )
    return Problem(431, "about:blank", detail, CLOSE, max_bytes=limits.HEAD_BYTES_MAX)


def head_too_slow() -> Problem:
    detail = f"The headers did not arrive within {limits.HEAD_RECEIVE_TIMEOUT_S:g} s."
    return Problem(408, "about:blank", detail, CLOSE)


def overhead_too_large() -> Problem:
    bytes_max = limits.BODY_OVERHEAD_BYTES_MAX
    detail = f"Sizes and extensions of a body's chunks may have at most {bytes_max} bytes."
    return Problem(413, "about:blank", detail, CLOSE, max_bytes=bytes_max)
