"""Every error as one body: RFC 9457 problem documents. May import errors, settings.

One table says which status an error of the service has. What was sent is never sent back: neither
in a message nor in the list of wrong fields (a password under a mistyped name would come back in
clear), and that list is capped.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from asyncpg import InterfaceError, PostgresError
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

from order_service import settings as limits
from order_service.api.catalogue import MEANINGS
from order_service.db import FAILURES
from order_service.errors import (
    InvalidRequest,
    NotFound,
    OrderServiceError,
    RuleViolation,
    Unavailable,
    UnreadableEvent,
    VersionConflict,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
RETRY_AFTER_S = "1"

STATUS_BY_ERROR: Mapping[type[OrderServiceError], int] = {
    InvalidRequest: 422,
    RuleViolation: 409,
    NotFound: 404,
    VersionConflict: 409,
    Unavailable: 503,
    UnreadableEvent: 503,
}
STATUS_BY_CODE = {
    "malformed-request": 400,
    "invalid-cursor": 400,
    "idempotency-key-invalid": 400,
    "unsupported-grant-type": 400,
    "forbidden": 403,
    "stream-gone": 410,
    "stale-version": 412,
    "content-too-large": 413,
    "precondition-required": 428,
}
# Members of RFC 9457 itself: an error's fact of the same name goes out as order_<name>.
_RESERVED = {"type", "title", "status", "detail", "instance"}
# SQLSTATE classes that say "not now": connection, transaction state (read-only, idle too long),
# rollback (serialization, deadlock), resources, object in use (lock timeout), operator intervention
# (statement timeout, shutdown), system error.
_NOT_NOW = ("08", "25", "40", "53", "55", "57", "58")


class Problem(Exception):
    """An answer with an error status. `slug`: a key of the catalogue, `about:blank`, or a whole
    URI.

    `members` are extension members; names that are no Python words go in through `**{...}`.
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


def body(problem: Problem, request_id: str) -> bytes:
    """The problem document."""
    about_blank = problem.slug == "about:blank"
    absolute = ":" in problem.slug
    if about_blank:
        title = HTTPStatus(problem.status).phrase
    else:
        title = problem.slug.rpartition("#")[2].replace("-", " ").capitalize()
    document = {
        "type": problem.slug if absolute else f"/problems/{problem.slug}",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request_id,
        "request_id": request_id,
    }
    for name, value in problem.members.items():
        document[f"order_{name}" if name in _RESERVED else name] = value
    return orjson.dumps(document, default=str)


def response(problem: Problem, request_id: str) -> Response:
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(body(problem, request_id), problem.status, headers, MEDIA_TYPE)


def internal_error() -> Problem:
    return Problem(500, "internal-error", "This is a mistake of ours; nothing more is known here.")


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
    """The problem of an error of the service, by the table above."""
    status = STATUS_BY_CODE.get(error.code)
    if status is None:
        status = next(STATUS_BY_ERROR[c] for c in type(error).__mro__ if c in STATUS_BY_ERROR)
    headers = {}
    if status == 503 or error.code == "concurrent-update":
        headers["Retry-After"] = RETRY_AFTER_S
    problem = Problem(status, error.code, error.detail, headers)
    problem.members.update(error.facts)
    if error.code == "validation":  # a rule that more than one field may break: all of the body
        whole = {"detail": error.detail, "pointer": "#", "code": "rule"}
        problem.members.setdefault("errors", [whole])
    return problem


def of_exception(error: Exception) -> Problem | None:
    """The problem that answers it: of the database, 503 where it cannot be reached or cannot answer
    in time. None for a mistake of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OrderServiceError):
        return of_error(error)
    if not _not_now(error):
        return None
    logger.warning("PostgreSQL does not answer: %s", type(error).__name__)
    return Problem(
        503,
        "dependency-unavailable",
        "The database does not answer in time. Retry after a moment.",
        {"Retry-After": RETRY_AFTER_S},
        dependency="database",
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses answer with a problem document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457; more members depend on the type.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "example": "/problems/validation"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Every exception has its handler; what has none is answered 500 by the outermost
    middleware."""
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _request_validation)
    for error in (Problem, OrderServiceError, *FAILURES):
        app.add_exception_handler(error, _known)
    app.add_api_route(
        "/problems/{slug}",
        explain,
        operation_id="problems_explain",
        response_class=PlainTextResponse,
        tags=["service"],
    )


async def explain(slug: str) -> PlainTextResponse:
    """What a problem type means."""
    if slug not in MEANINGS:
        raise HTTPException(404)
    return PlainTextResponse(f"{slug}\n\n{MEANINGS[slug]}\n")


def answer(request: Request, problem: Problem) -> Response:
    return response(problem, request.state.request_id)


async def _known(request: Request, error: Exception) -> Response:
    problem = of_exception(error)
    if problem is None:
        raise error
    return answer(request, problem)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return answer(request, Problem(404, "not-found", "There is nothing at this address."))
    if error.status_code == 405:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
        detail = "This address does not take that method: see Allow."
        return answer(request, Problem(405, "about:blank", detail, headers))
    slug = "malformed-request" if error.status_code == 400 else "about:blank"
    detail = HTTPStatus(error.status_code).phrase
    return answer(request, Problem(error.status_code, slug, detail, error.headers))


async def _request_validation(request: Request, error: Exception) -> Response:
    """Wrong path, query or header parameters; bodies are parsed by `api/body.py`."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    location = "header" if errors[0]["loc"][0] == "header" else "parameter"
    return answer(request, validation(errors, location))


def _not_now(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig
        state = getattr(cause, "sqlstate", None)
        return state[:2] in _NOT_NOW if state else isinstance(cause, OSError | InterfaceError)
    if isinstance(error, PostgresError):
        return str(error.sqlstate)[:2] in _NOT_NOW
    return isinstance(error, PoolTimeout | OSError | InterfaceError)


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes of this path: the router itself names only those of the first."""
    allowed = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        routes = request.app.router.routes
        if any(route.matches(scope)[0] is Match.FULL for route in routes):
            allowed.add(method)
    return sorted(allowed)


_SPECIAL = re.compile(r"[~/]")


def _pointer(location: Sequence[int | str]) -> str:
    """A JSON pointer as a URI fragment; the names in it are bounded, for they may be the
    client's."""
    parts = (
        quote(_SPECIAL.sub(lambda m: "~0" if m[0] == "~" else "~1", str(part)[:64]), safe="~")
        for part in location
    )
    return "#" + "".join(f"/{part}" for part in parts)
