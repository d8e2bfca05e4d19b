"""The caller: read from the access token, without a database query.

Also which errors a caller may see in full."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import OAuth2PasswordBearer
from starlette.requests import HTTPConnection, Request

from order_service.accounts.tokens import Role
from order_service.domain.immutable import immutable
from order_service.errors import OrderNotFound, UnreadableEvent
from order_service.telemetry import logging
from order_service.web.openapi.annotations import raises
from order_service.web.problems.problem import Problem

# This makes Swagger's Authorize ask for a password and fetch a token.
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
    """A FastAPI dependency. Raises Problem 401, or 429 above the user's limit."""
    found: Caller = request.app.state.admission.authenticate(token)
    return admit_caller(request, found)


CallerDependency = Annotated[Caller, Depends(caller)]


def admit_caller(connection: HTTPConnection, caller: Caller) -> Caller:
    """Counts the request for its user; logs and error responses then know the caller. Raises
    Problem 429."""
    logging.USER_ID.set(caller.user_id)
    state = connection.state
    state.caller = caller
    connection.app.state.admission.count_user(state.quotas, state.group, caller)
    return caller


def unauthorized(slug: str, detail: str) -> Problem:
    return Problem(401, slug, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def redacted_for(caller: Caller | None, error: Exception) -> Exception:
    """`error` without what the caller may not know of an unreadable order.

    Staff see where it is, its owner only that it is unreadable, a stranger not even that it exists.
    If the owner is unknown, every customer might be the owner. Other errors stay as they are.
    """
    if not isinstance(error, UnreadableEvent) or (caller is not None and caller.is_staff):
        return error
    user_id = None if caller is None else caller.user_id
    if error.owner not in (None, user_id):
        return OrderNotFound()
    return UnreadableEvent(
        "order-unreadable", "An event of this order cannot be read at the moment."
    )
