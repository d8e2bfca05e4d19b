"""Who is calling: from the access token, without a database query; and what only some callers may
know."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import OAuth2PasswordBearer
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from order_service.accounts.tokens import AccessTokens, Role, TokenExpired, TokenInvalid
from order_service.domain.immutable import immutable
from order_service.errors import OrderNotFound, UnreadableEvent
from order_service.telemetry import logging
from order_service.web.openapi.annotations import raises
from order_service.web.problems.problem import Problem, answer, of_exception
from order_service.web.rate_limits import admit_user

# In the OpenAPI document this is what makes Swagger's Authorize ask for a password and fetch a
# token.
bearer = OAuth2PasswordBearer(tokenUrl="/token/", refreshUrl="/token/refresh/", auto_error=False)


@immutable
class Caller:
    user_id: UUID
    role: Role

    @property
    def is_staff(self) -> bool:
        return self.role != "customer"


@raises("authentication-required", "token-expired", "token-invalid")
async def caller(request: Request, token: Annotated[str | None, Depends(bearer)]) -> Caller:
    """A FastAPI dependency. Raises Problem 401, or 429 when the user's limit is used up."""
    return admit_caller(request, authenticated(request.app.state.access_tokens, token))


def authenticated(tokens: AccessTokens, token: str | None) -> Caller:
    """Raises Problem 401."""
    if token is None:
        detail = "Send an access token: Authorization: Bearer <token>."
        raise Problem(401, "authentication-required", detail, {"WWW-Authenticate": "Bearer"})
    try:
        verified = tokens.verify(token)
    except TokenExpired:
        raise unauthorized("token-expired", "The access token has expired: refresh it.") from None
    except TokenInvalid:
        raise unauthorized("token-invalid", "This is not a valid access token.") from None
    logging.USER_ID.set(verified.user_id)
    return Caller(verified.user_id, verified.role)


CallerDependency = Annotated[Caller, Depends(caller)]


def admit_caller(connection: HTTPConnection, caller: Caller) -> Caller:
    """Within its limit, and known to what answers errors. Raises Problem 429."""
    admit_user(connection, caller.user_id)
    connection.state.caller = caller
    return caller


def unauthorized(slug: str, detail: str) -> Problem:
    return Problem(401, slug, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


# --- orders that cannot be read -------------------------------------------------------------------


def redacted_for(caller: Caller, error: Exception) -> Exception:
    """The error without what this caller may not know of an order that cannot be read.

    Staff see where it cannot be read; its owner only that it cannot; any other customer gets
    `OrderNotFound`. If the log does not say whose order it is, every customer counts as its owner.
    Other errors are returned unchanged.
    """
    if caller.is_staff or not isinstance(error, UnreadableEvent):
        return error
    if error.owner not in (None, caller.user_id):
        return OrderNotFound()
    return UnreadableEvent("order-unreadable", "An event of this order cannot be read for now.")


async def unreadable(request: Request, error: Exception) -> Response:
    """The one handler of UnreadableEvent, whichever route came upon it."""
    problem = of_exception(redacted_for(request.state.caller, error))
    assert problem is not None, "an error of the service has its problem"
    return answer(request, problem)
