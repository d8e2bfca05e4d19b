"""The caller: read from the access token or the API key, without a database query.

Also which scopes a key has, and which errors a caller may see in full."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends
from fastapi.security import OAuth2PasswordBearer
from starlette.requests import HTTPConnection, Request

from order_service.accounts.api_keys import Grant, Scope
from order_service.accounts.tokens import TokenRole
from order_service.domain.immutable import immutable
from order_service.errors import OrderNotFound, RuleViolation, UnreadableEvent
from order_service.telemetry import logging
from order_service.web.openapi.annotations import raises
from order_service.web.problems.problem import Problem

# This makes Swagger's Authorize ask for a password and fetch a token.
bearer = OAuth2PasswordBearer(tokenUrl="/token/", refreshUrl="/token/refresh/", auto_error=False)


@immutable
class Caller:
    """A user, or a program with an API key: then `user_id` is the key's id and `grant` what the key
    may do. Or a guest, who reads the one order whose id is `user_id`."""

    user_id: UUID
    role: TokenRole | Literal["key"]
    grant: Grant | None = None

    @property
    def is_staff(self) -> bool:
        return self.role in ("staff", "admin")

    @property
    def actor_type(self) -> Literal["user", "staff", "key"]:
        """The type of the actor in the metadata of events."""
        if self.grant is not None:
            return "key"
        return "staff" if self.is_staff else "user"

    @property
    def acts_for_shop(self) -> bool:
        """Whether the caller sees the orders of all users, as staff see them: staff, and keys that
        act for any user."""
        return self.is_staff or (self.grant is not None and self.grant.acts_for is None)

    @property
    def own_id(self) -> UUID | None:
        """The user whose orders are the caller's own."""
        if self.role == "guest":
            return None
        return self.user_id if self.grant is None else self.grant.acts_for

    def sees(self, owner: UUID | None) -> bool:
        """Whether the caller sees the orders of this user; None: those of guests."""
        return self.acts_for_shop or (owner is not None and owner == self.own_id)

    def sees_order(self, order_id: UUID, owner: UUID | None) -> bool:
        """Whether the caller sees this order of this user; None: of a guest."""
        return self.sees(owner) or (self.role == "guest" and self.user_id == order_id)


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raises RuleViolation `insufficient-scope` for an API key without the scope. Users have no
    scopes: their role decides."""
    if caller.grant is not None and scope not in caller.grant.scopes:
        detail = f"This API key lacks the scope {scope}."
        raise RuleViolation("insufficient-scope", detail, required_scope=scope)


@raises("authentication-required", "token-expired", "token-invalid")
async def caller(request: Request, token: Annotated[str | None, Depends(bearer)]) -> Caller:
    """A FastAPI dependency. Raises Problem 401, or 429 above the user's limit.

    An API key is a caller without rights until the route calls `check_scope`: it owns no order and
    has no role."""
    counted: Caller | None = getattr(request.state, "counted", None)
    if counted is not None:  # with its key, in place of its address
        return _know(request, counted)
    host = request.client.host if request.client else None
    found: Caller = await request.app.state.admission.identify(token, host)
    return admit_caller(request, found)


CallerDependency = Annotated[Caller, Depends(caller)]


@raises("forbidden")
async def person(caller: CallerDependency) -> Caller:
    """A FastAPI dependency: a user, no API key and no guest. Raises Problem 403."""
    if caller.grant is not None or caller.role == "guest":
        detail = "This is for people with an account."
        raise Problem(403, "forbidden", detail, required_role="customer")
    return caller


PersonDependency = Annotated[Caller, Depends(person)]


def admit_caller(connection: HTTPConnection, caller: Caller) -> Caller:
    """Counts the request for its user; logs and error responses then know the caller. Raises
    Problem 429."""
    _know(connection, caller)
    state = connection.state
    connection.app.state.admission.count_user(state.quotas, state.group, caller)
    return caller


def _know(connection: HTTPConnection, caller: Caller) -> Caller:
    logging.USER_ID.set(caller.user_id)
    connection.state.caller = caller
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
    if error.owner is not None and (caller is None or not caller.sees(error.owner)):
        return OrderNotFound()
    return UnreadableEvent(
        "order-unreadable", "An event of this order cannot be read at the moment."
    )
