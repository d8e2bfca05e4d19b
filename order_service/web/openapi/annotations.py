"""How a route says what it answers, for the OpenAPI document.

A route names the problems that are its own; those of its dependencies (no token, a body that is no
JSON, a key that was reused) stand at the dependency, by `raises`, and those of every request in
`openapi.py`. So none is forgotten, and none is documented that cannot happen.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from order_service.web.problems.catalogue import CATALOGUE

F = TypeVar("F", bound=Callable[..., object])
# A response that OpenAPI has no place for until `openapi.py` replaces it: the slugs it may have.
PROBLEMS = "x-problems"
_SOMETIMES = "Sometimes-"

HEADERS: Mapping[str, tuple[str, str]] = {
    "Allow": ("The methods that this address takes.", "GET, PATCH"),
    "Consistency-Token": (
        "Names this write: a read that sends it back shows the write, or waits for it.",
        "AZXwoVw-fRqbHi9MaosNEgAAAAMAAAAAAAOQ",
    ),
    "Content-Disposition": ("The name of the file.", 'attachment; filename="orders.csv"'),
    "ETag": ("The order's version, as a strong entity tag: for If-Match and If-None-Match.", '"3"'),
    "Idempotent-Replayed": (
        "`true`: the request was carried out before, and this is its answer again.",
        "true",
    ),
    "Link": (
        'The next page, with `rel="next"`, where there is one (RFC 8288).',
        '</orders/user/0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12/?limit=50&cursor=Zm9v>; rel="next"',
    ),
    "Location": ("Where it is found from now on.", "/orders/0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12/"),
    "Order-Stale": (
        "`true`: the order's last events cannot be read by the running version; no ETag is sent.",
        "true",
    ),
    "Preference-Applied": ("Which preferences were heeded (RFC 7240).", "wait=2"),
    "Projection-Lag-Ms": ("How far the read model is behind the awaited write.", "120"),
    "RateLimit": (
        "What is left of each quota, and for how many seconds.",
        '"reads-user";r=59;t=42',
    ),
    "RateLimit-Policy": (
        "The quotas: requests (q) in a window of seconds (w).",
        '"reads-user";q=60;w=60',
    ),
    "Retry-After": ("Seconds to wait before the request is worth repeating.", "1"),
    "WWW-Authenticate": ("How to authenticate (RFC 6750).", 'Bearer error="invalid_token"'),
    "X-Cache": ("Whether the answer came from the cache: `hit`, `miss` or `bypass`.", "hit"),
    "X-Request-Id": (
        "The request's id: the one sent, where it is 8 to 128 letters, digits, dots, dashes.",
        "0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12",
    ),
}
# On every answer of every operation, whether it is a success or a problem.
ALWAYS_SENT = ("X-Request-Id", "RateLimit", "RateLimit-Policy")


def raises(*slugs: str) -> Callable[[F], F]:
    """Marks a dependency: every route that has it may answer with these problems."""

    def mark(dependency: F) -> F:
        setattr(dependency, "problems", _known(slugs))  # noqa: B010  # functions have no such attribute
        return dependency

    return mark


def documented(
    *slugs: str,
    status: int = 200,
    says: str = "",
    sends: tuple[str, ...] = (),
    may_send: tuple[str, ...] = (),
    content: Mapping[str, Any] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: its success (`status`; the headers that it always `sends`, and
    those where they apply) and the problems that are its own. `content` is for bodies that no
    response_model describes."""
    success: dict[str, Any] = {"headers": headers(*sends) | headers(*may_send, always=False)}
    if says:
        success["description"] = says
    if content is not None:
        success["content"] = dict(content)
    responses: dict[int | str, dict[str, Any]] = {status: success}
    for slug in _known(slugs):
        responses.setdefault(CATALOGUE[slug].status, {PROBLEMS: []})[PROBLEMS].append(slug)
    return responses


def headers(*names: str, always: bool = True) -> dict[str, Any]:
    """These headers, for a response's `headers`."""
    prefix = "" if always else _SOMETIMES
    return {name: {"$ref": f"#/components/headers/{prefix}{name}"} for name in names}


def header_components() -> dict[str, Any]:
    """What `headers` refers to: each header as one that is always sent, and as one that may be."""
    components: dict[str, Any] = {}
    for name, (meaning, example) in HEADERS.items():
        header = {"description": meaning, "schema": {"type": "string"}, "example": example}
        components[name] = header | {"required": True}
        components[f"{_SOMETIMES}{name}"] = header
    return components


def text_content(*media_types: str) -> dict[str, Any]:
    """For `content`: one text in any of these media types."""
    return {media_type: {"schema": {"type": "string"}} for media_type in media_types}


def _known(slugs: tuple[str, ...]) -> tuple[str, ...]:
    for slug in slugs:
        assert slug in CATALOGUE, f"no problem type is called {slug}"
    return slugs
