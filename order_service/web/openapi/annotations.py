"""Declares a route's responses for the OpenAPI document.

A route declares its own problems; a dependency declares its problems (no token, invalid JSON, a
reused key) with `raises`; `document.py` adds those of every request. So the document has every
problem that can happen, and no other.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from order_service.web.problems.catalogue import CATALOGUE

F = TypeVar("F", bound=Callable[..., object])
# A temporary key of a response: the slugs of its problems, until `document.py` replaces it.
PROBLEMS = "x-problems"
# The same for the scopes, one of which lets an API key in.
SCOPES = "x-scopes"
_SOMETIMES = "Sometimes-"

HEADERS: Mapping[str, tuple[str, str]] = {
    "Allow": ("The methods that this path accepts.", "GET, PATCH"),
    "Consistency-Token": (
        "Identifies this write: a read that sends it shows the write, waiting for it if needed.",
        "AZXwoVw-fRqbHi9MaosNEgAAAAMAAAAAAAOQ",
    ),
    "Content-Disposition": ("The name of the file.", 'attachment; filename="orders.csv"'),
    "ETag": ("The order's version, as a strong entity tag: for If-Match and If-None-Match.", '"3"'),
    "Idempotent-Replayed": (
        "`true` if the request is a repeat: this is the response to the first one.",
        "true",
    ),
    "Link": (
        'The next page, as `rel="next"`, if there is one (RFC 8288).',
        '</orders/user/0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12/?limit=50&cursor=Zm9v>; rel="next"',
    ),
    "Location": ("The URL of the new resource.", "/orders/0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12/"),
    "Order-Stale": (
        "`true` if the running version cannot read the order's last events; no ETag is sent.",
        "true",
    ),
    "Preference-Applied": ("The preferences that were applied (RFC 7240).", "wait=2"),
    "Projection-Lag-Ms": (
        "How far the read model is behind the requested write, in milliseconds.",
        "120",
    ),
    "RateLimit": (
        "Each quota's remaining requests (r) and seconds until it resets (t).",
        '"reads-user";r=59;t=42',
    ),
    "RateLimit-Policy": (
        "The quotas: requests (q) in a window of seconds (w).",
        '"reads-user";q=60;w=60',
    ),
    "Retry-After": ("Seconds to wait before repeating the request.", "1"),
    "WWW-Authenticate": ("How to authenticate (RFC 6750).", 'Bearer error="invalid_token"'),
    "X-Cache": ("Whether the response came from the cache: `hit`, `miss` or `bypass`.", "hit"),
    "X-Request-Id": (
        "The request's id: the client's, if it is 8 to 128 letters, digits, dots and dashes.",
        "0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12",
    ),
}
# On every response of every operation, successes and problems alike.
ALWAYS_SENT = ("X-Request-Id", "RateLimit", "RateLimit-Policy")


def raises(*slugs: str) -> Callable[[F], F]:
    """Marks a dependency: every route that uses it may return these problems."""

    def mark(dependency: F) -> F:
        setattr(dependency, "problems", _checked(slugs))  # noqa: B010  # functions have no such attribute
        return dependency

    return mark


def documented(
    *slugs: str,
    status: int = 200,
    description: str = "",
    sends: tuple[str, ...] = (),
    may_send: tuple[str, ...] = (),
    content: Mapping[str, Any] | None = None,
    scopes: tuple[str, ...] = (),
) -> dict[int | str, dict[str, Any]]:
    """The value for a route's `responses`: its success and its own problems.

    The success has `status`, a `description`, the headers that it always `sends`, and those that it
    `may_send`. `content` is for bodies without a response_model. `scopes`: one of them lets an API
    key in; without any the route is for people."""
    success: dict[str, Any] = {"headers": headers(*sends) | headers(*may_send, always=False)}
    if description:
        success["description"] = description
    if content is not None:
        success["content"] = dict(content)
    responses: dict[int | str, dict[str, Any]] = {status: success}
    if scopes:
        success[SCOPES] = scopes
        slugs += ("insufficient-scope",)
    for slug in _checked(slugs):
        responses.setdefault(CATALOGUE[slug].status, {PROBLEMS: []})[PROBLEMS].append(slug)
    return responses


def headers(*names: str, always: bool = True) -> dict[str, Any]:
    """The value for a response's `headers`: references to these headers."""
    prefix = "" if always else _SOMETIMES
    return {name: {"$ref": f"#/components/headers/{prefix}{name}"} for name in names}


def header_components() -> dict[str, Any]:
    """The components that `headers` refers to: each header as required and as optional."""
    components: dict[str, Any] = {}
    for name, (meaning, example) in HEADERS.items():
        header = {"description": meaning, "schema": {"type": "string"}, "example": example}
        components[name] = header | {"required": True}
        components[f"{_SOMETIMES}{name}"] = header
    return components


def text_content(*media_types: str) -> dict[str, Any]:
    """The value for `content`: a string in any of these media types."""
    return {media_type: {"schema": {"type": "string"}} for media_type in media_types}


def _checked(slugs: tuple[str, ...]) -> tuple[str, ...]:
    for slug in slugs:
        assert slug in CATALOGUE, f"there is no problem type {slug}"
    return slugs
