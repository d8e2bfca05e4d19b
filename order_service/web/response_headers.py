"""The headers of every response, except rate limits: request id, security, CORS."""

import re
from secrets import token_hex
from typing import NamedTuple

from order_service.web.responses import RawHeader

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")

# --- security -------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = b"default-src 'none'; frame-ancestors 'none'"
# Swagger UI: this service has its files; it sets styles on elements and shows icons from data:
# addresses.
DOCS_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
# The desk consists of our own files only, and only its scripts send its forms.
DESK_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_POLICIES = {"docs": DOCS_CONTENT_SECURITY_POLICY, "desk": DESK_CONTENT_SECURITY_POLICY}
_ALWAYS: tuple[RawHeader, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
STRICT_TRANSPORT: RawHeader = (
    b"strict-transport-security",
    b"max-age=31536000; includeSubDomains",
)

# --- CORS -----------------------------------------------------------------------------------------

CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
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


class Headers(NamedTuple):
    """Headers in both forms: raw, for ASGI, and as lines on the wire."""

    raw: tuple[RawHeader, ...]
    lines: str


def headers_of(raw: tuple[RawHeader, ...]) -> Headers:
    return Headers(raw, "".join([f"{k.decode()}: {v.decode()}\r\n" for k, v in raw]))


STRICT_TRANSPORT_LINE = headers_of((STRICT_TRANSPORT,)).lines

_VARY: RawHeader = (b"vary", b"Origin, Accept-Encoding")
NO_CORS = headers_of((_VARY,))


def cors_headers(origin: str) -> Headers:
    """For a request from this origin, which is allowed."""
    exposed = ", ".join(CORS_EXPOSED_HEADERS).encode()
    return headers_of(
        (
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-expose-headers", exposed),
            _VARY,
        )
    )


# --- request id and security ----------------------------------------------------------------------


def request_id_of(value: bytes | None) -> str:
    """The client's X-Request-Id if it is valid; else a new id."""
    return value.decode() if value and _REQUEST_ID.fullmatch(value) else new_request_id()


def new_request_id() -> str:
    return token_hex(16)


def safe_headers(request_id: str, path: str) -> list[RawHeader]:
    """`path`: the request's, which decides the Content-Security-Policy."""
    first = path[1:].partition("/")[0]
    return [
        (b"x-request-id", request_id.encode()),
        *_ALWAYS,
        (b"content-security-policy", _POLICIES.get(first, CONTENT_SECURITY_POLICY)),
    ]


_SAFE_LINES = headers_of(tuple(safe_headers("", "/")[1:])).lines


def safe_lines(request_id: str) -> str:
    """`safe_headers` as lines on the wire, for paths outside documentation and desk."""
    return f"x-request-id: {request_id}\r\n{_SAFE_LINES}"
