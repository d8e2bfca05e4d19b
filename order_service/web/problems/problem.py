"""Every error response has one shape: a problem document (RFC 9457).

The catalogue has the status of each error of the service. A response never repeats what was sent,
neither in a message nor in the list of wrong fields: a password under a mistyped name would come
back in clear. That list is capped.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from asyncpg import InterfaceError, InternalClientError, PostgresError
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from order_service import limits
from order_service.errors import OrderServiceError
from order_service.infra.postgres import FAILURES
from order_service.telemetry import tracing
from order_service.telemetry.logging import reason
from order_service.web.problems.catalogue import CATALOGUE, title_of, type_of
from order_service.web.responses import Reply

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "1"

# Members of RFC 9457: an error's fact with one of these names is sent as order_<name>.
_RESERVED = {"type", "title", "status", "detail", "instance"}
# SQLSTATE classes of temporary failures: connection, transaction state (read-only, idle too long),
# rollback (serialization, deadlock), resources, object in use (lock timeout), operator intervention
# (statement timeout, shutdown), system error.
_TEMPORARY = ("08", "25", "40", "53", "55", "57", "58")
# The driver raises these when it has lost its session.
_LOST = (OSError, InterfaceError, InternalClientError)
# Logged: refused logins and tokens, forbidden requests, exceeded limits. Missing and foreign orders
# are logged alike, so that the response time does not show which it is.
_RECORDED_STATUSES, _RECORDED_SLUGS = (401, 403, 429), ("order-not-found",)


class Problem(Exception):
    """An error response. `slug`: a key of the catalogue, `about:blank`, or a whole URI.

    `members` are extension members; pass names that are not Python identifiers by `**{...}`.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @property
    def name(self) -> str:
        """The slug, or the fragment of a URI."""
        return self.slug.rpartition("#")[2]


def body(problem: Problem, request_id: str) -> bytes:
    """The problem document."""
    uri = problem.slug if ":" in problem.slug else type_of(problem.slug)
    document = {
        "type": uri,
        "title": title_of(uri, problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "instance": request_id,
        "request_id": request_id,
    }
    if (trace_id := tracing.trace_id()) is not None:
        document["trace_id"] = trace_id
    for name, value in problem.members.items():
        document[f"order_{name}" if name in _RESERVED else name] = value
    return orjson.dumps(document, default=str)


def reply(problem: Problem, request_id: str) -> Reply:
    if problem.status in _RECORDED_STATUSES or problem.slug in _RECORDED_SLUGS:
        logger.info("refused: %d %s", problem.status, problem.slug)
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Reply(problem.status, headers, body(problem, request_id), MEDIA_TYPE)


def response(problem: Problem, state: dict[str, Any]) -> Response:
    """`state`: the request's."""
    state["problem"] = problem
    return reply(problem, state["request_id"]).response()


def internal_error() -> Problem:
    return Problem(
        500, "internal-error", "This service has a bug; the response has no further details."
    )


def validation(errors: Sequence[Mapping[str, Any]], location: str = "pointer") -> Problem:
    """422 from pydantic's errors. `location`: `pointer` into the body, `parameter` or `header`."""
    listed = [
        {
            "detail": error["msg"],
            location: _pointer(error["loc"]) if location == "pointer" else str(error["loc"][-1]),
            "code": error["type"],
        }
        for error in errors[: limits.VALIDATION_ERRORS_MAX]
    ]
    return Problem(422, "validation", f"Wrong fields: {len(errors)}; see errors.", errors=listed)


def of_error(error: OrderServiceError) -> Problem:
    """The problem of an error of the service, whose code is a key of the catalogue."""
    status = CATALOGUE[error.code].status
    headers = {}
    if "Retry-After" in CATALOGUE[error.code].headers:
        headers["Retry-After"] = RETRY_AFTER_S
    problem = Problem(status, error.code, error.detail, headers)
    problem.members.update(error.facts)
    if error.code == "validation":
        # The whole body: this check depends on the order or on several fields.
        whole = {"detail": error.detail, "pointer": "#", "code": "refused"}
        problem.members.setdefault("errors", [whole])
    return problem


def of_exception(error: Exception) -> Problem | None:
    """The problem that answers the error; 503 if the database cannot be reached or is too slow.
    None for a bug of this service."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OrderServiceError):
        return of_error(error)
    if not _is_temporary(error):
        return None
    logger.warning("PostgreSQL does not answer: %s", reason(error))
    return Problem(
        503,
        "dependency-unavailable",
        "The database does not answer in time. Retry after a moment.",
        {"Retry-After": RETRY_AFTER_S},
        dependency="database",
    )


def install(app: FastAPI) -> None:
    """Installs a handler for each known exception; `middleware.Edge` answers 500 to any other."""
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _request_validation)
    for error in (Problem, OrderServiceError, *FAILURES):
        app.add_exception_handler(error, _known)


def answer(request: Request, problem: Problem) -> Response:
    return response(problem, request.scope["state"])


async def _known(request: Request, error: Exception) -> Response:
    state = request.scope["state"]
    problem: Problem = request.app.state.admission.problem_of(error, state.get("caller"))
    return answer(request, problem)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return answer(request, Problem(404, "not-found", "There is nothing at this path."))
    if error.status_code == 405:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
        detail = "This path does not support that method: see Allow."
        return answer(request, Problem(405, "about:blank", detail, headers))
    slug = "malformed-request" if error.status_code == 400 else "about:blank"
    detail = HTTPStatus(error.status_code).phrase
    return answer(request, Problem(error.status_code, slug, detail, error.headers))


async def _request_validation(request: Request, error: Exception) -> Response:
    """For wrong path, query or header parameters; `json_body` handles bodies."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    location = "header" if errors[0]["loc"][0] == "header" else "parameter"
    return answer(request, validation(errors, location))


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig
        state = getattr(cause, "sqlstate", None)
        return state[:2] in _TEMPORARY if state else isinstance(cause, _LOST)
    if isinstance(error, PostgresError):
        return str(error.sqlstate)[:2] in _TEMPORARY
    return isinstance(error, (PoolTimeout, *_LOST))


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes with the most specific template that matches this path. The router
    names those of the first route only, and `/orders/export/` also matches an order's path."""
    methods: dict[str, set[str]] = {}
    for context in iter_route_contexts(request.app.routes):
        path = context.path or ""
        if context.methods and compile_path(path)[0].match(request.scope["path"]):
            methods.setdefault(path, set()).update(context.methods)
    allowed = methods[min(methods, key=lambda path: path.count("{"))]
    return sorted(allowed | {"HEAD"} if "GET" in allowed else allowed)


_SPECIAL = re.compile(r"[~/]")


def _pointer(location: Sequence[int | str]) -> str:
    """A JSON pointer as a URI fragment. Names in it are cut off, because the client may have chosen
    them."""
    parts = (
        quote(_SPECIAL.sub(lambda m: "~0" if m[0] == "~" else "~1", str(part)[:64]), safe="~")
        for part in location
    )
    return "#" + "".join(f"/{part}" for part in parts)
