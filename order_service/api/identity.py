"""Who is calling: from the access token, without a database query. May import accounts.tokens,
documented, limits, problems."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import OAuth2PasswordBearer
from starlette.requests import Request

from order_service.accounts.tokens import AccessTokens, Role, TokenExpired, TokenInvalid
from order_service.api.documented import raises
from order_service.api.limits import admit_user
from order_service.api.problems import Problem

# In the OpenAPI document this is what makes Swagger's Authorize ask for a password and fetch a
# token.
bearer = OAuth2PasswordBearer(tokenUrl="/token/", refreshUrl="/token/refresh/", auto_error=False)


@dataclass(frozen=True, slots=True)
class Caller:
    user_id: UUID
    role: Role

    @property
    def is_staff(self) -> bool:
        return self.role != "customer"


@raises("authentication-required", "token-expired", "token-invalid")
async def caller(request: Request, token: Annotated[str | None, Depends(bearer)]) -> Caller:
    """A FastAPI dependency. Raises Problem 401, or 429 when the user's limit is used up."""
    if token is None:
        detail = "Send an access token: Authorization: Bearer <token>."
        raise Problem(401, "authentication-required", detail, {"WWW-Authenticate": "Bearer"})
    tokens = request.app.state.access_tokens
    assert isinstance(tokens, AccessTokens)
    try:
        verified = tokens.verify(token)
    except TokenExpired:
        raise unauthorized("token-expired", "The access token has expired: refresh it.") from None
    except TokenInvalid:
        raise unauthorized("token-invalid", "This is not a valid access token.") from None
    admit_user(request, verified.user_id)
    return Caller(verified.user_id, verified.role)


CallerDependency = Annotated[Caller, Depends(caller)]


def unauthorized(slug: str, detail: str) -> Problem:
    return Problem(401, slug, detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
