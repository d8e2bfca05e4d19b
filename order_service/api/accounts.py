"""Account routes: register, log in, refresh, log out, and the caller's own account.

`POST /token/` has the shape of OAuth2's password grant, which Swagger's Authorize understands, but
is a first-party login only: RFC 9700 forbids that grant for third parties.
"""

import logging
from dataclasses import dataclass
from typing import Annotated, NoReturn
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.accounts import passwords, users
from order_service.accounts.passwords import Passwords
from order_service.accounts.refresh import RefreshRefused, RefreshTokens
from order_service.accounts.tokens import AccessTokens, Role
from order_service.accounts.users import User
from order_service.documents import accounts as documents
from order_service.documents.shape import json_time
from order_service.errors import InvalidRequest
from order_service.infra import failpoints
from order_service.web.fields import Email, NewEmail, field_error
from order_service.web.identity import PersonDependency, unauthorized
from order_service.web.json_body import PLAIN, Characters, JsonBody, M, Text, json_body, parse_json
from order_service.web.openapi.annotations import documented
from order_service.web.problems.problem import Problem
from order_service.web.rate_limits import FailedLogins, address_key
from order_service.web.responses import NO_STORE, json_answer

logger = logging.getLogger(__name__)
router = APIRouter(tags=["accounts"])

FORM = "application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 16
_REFRESH_REFUSED = ("token-expired", "token-invalid", "refresh-superseded")


@dataclass(frozen=True)
class Accounts:
    """What the routes need. The composition root sets it as `app.state.accounts`."""

    engine: AsyncEngine
    passwords: Passwords
    access_tokens: AccessTokens
    failed_logins: FailedLogins
    refresh_tokens: RefreshTokens


def _accounts(request: Request) -> Accounts:
    found = request.app.state.accounts
    assert isinstance(found, Accounts)
    return found


AccountsDependency = Annotated[Accounts, Depends(_accounts)]
# A login's password is bounded and otherwise unchecked: only the right one matches anyway.
Password = Annotated[str, Characters(most=limits.PASSWORD_BYTES_MAX)]
NewPassword = Annotated[
    Text,
    WithJsonSchema(
        {
            "type": "string",
            "minLength": limits.PASSWORD_LENGTH_MIN,
            "maxLength": limits.PASSWORD_BYTES_MAX,
            "pattern": f"^{PLAIN}*$",
        }
    ),
]


def _checked_password(value: str) -> str:
    field_error(passwords.check_new, value)
    return value


class RegisterRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: NewEmail
    password: Annotated[NewPassword, AfterValidator(_checked_password)]


class TokenRequest(BaseModel):
    """A login or a refresh. Ignores other members, as RFC 6749 requires (Swagger sends client_id
    and scope)."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Text = "password"
    username: Email | None = Field(default=None, description="The e-mail address.")
    email: Email | None = Field(
        default=None, description="The same, for clients that use this name."
    )
    password: Password | None = None
    refresh_token: Password | None = None

    @model_validator(mode="after")
    def _complete(self) -> "TokenRequest":
        if self.grant_type == "refresh_token" and self.refresh_token is None:
            raise ValueError("refresh_token is missing")
        if self.grant_type == "password" and None in (self.username or self.email, self.password):
            raise ValueError("username (or email) and password are needed")
        return self


class RefreshRequest(BaseModel):
    refresh_token: Annotated[str, Characters(1, limits.PASSWORD_BYTES_MAX)]


class RevokeRequest(BaseModel):
    """`token` as in RFC 7009, or `refresh_token` as in the other requests."""

    token: Password | None = None
    refresh_token: Password | None = None

    @model_validator(mode="after")
    def _complete(self) -> "RevokeRequest":
        if self.token is None and self.refresh_token is None:
            raise ValueError("token is missing")
        return self


class FormOrJson(JsonBody[M]):
    """A form, which OAuth2 clients send, or JSON."""

    media_types = (FORM, "application/json")

    async def __call__(self, request: Request) -> M:
        data = await request.body()
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
            return self.validate(parse_form(data))
        return self.validate(parse_json(data))


def parse_form(data: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(data),
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError:
        raise Problem(400, "malformed-request", "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem(400, "malformed-request", "A field is given twice.")
    return {name: value for name, value in fields.items() if value}  # RFC 6749: empty is absent


@router.post(
    "/register/",
    status_code=201,
    operation_id="accounts_register",
    summary="Register a customer",
    response_model=documents.User,
    responses=documented("email-taken", "overloaded", status=201, sends=("Location",)),
)
async def register(
    accounts: AccountsDependency,
    body: Annotated[RegisterRequest, Depends(json_body(RegisterRequest))],
) -> Response:
    """Creates an account for a customer."""
    password_hash = await accounts.passwords.hash(body.password)
    user = await users.add(accounts.engine, body.email, password_hash, "customer")
    logger.info("user registered: %s", user.id)
    return json_answer(_user(user), 201, {"Location": "/users/me/", **NO_STORE})


@router.post(
    "/token/",
    operation_id="accounts_log_in",
    summary="Log in, or refresh",
    response_model=documents.Tokens,
    responses=documented(
        "unsupported-grant-type", "invalid-credentials", *_REFRESH_REFUSED, "overloaded"
    ),
)
async def log_in(
    request: Request,
    accounts: AccountsDependency,
    body: Annotated[TokenRequest, Depends(FormOrJson(TokenRequest))],
) -> Response:
    """Returns an access token and a refresh token for e-mail address and password, or for a refresh
    token."""
    if body.grant_type == "refresh_token":
        return await _refreshed(accounts, str(body.refresh_token))
    if body.grant_type != "password":
        raise InvalidRequest(
            "unsupported-grant-type",
            "Use grant_type=password or grant_type=refresh_token.",
            error="unsupported_grant_type",
            error_description="Only password and refresh_token are supported.",
        )
    email, host = str(body.username or body.email), request.client.host if request.client else None
    user = await _check_credentials(accounts, address_key(host), email, str(body.password))
    token = await accounts.refresh_tokens.begin_family(user.id)
    return _tokens(accounts, user.id, user.role, token)


@router.post(
    "/token/refresh/",
    operation_id="accounts_refresh",
    summary="Exchange a refresh token",
    response_model=documents.Tokens,
    responses=documented(*_REFRESH_REFUSED),
)
async def refresh_token(
    accounts: AccountsDependency,
    body: Annotated[RefreshRequest, Depends(FormOrJson(RefreshRequest))],
) -> Response:
    """Returns new tokens for a refresh token, which can be used only once."""
    return await _refreshed(accounts, body.refresh_token)


@router.post(
    "/token/revoke/",
    operation_id="accounts_revoke",
    summary="Log out",
    response_model=documents.Revoked,
    responses=documented(),
)
async def revoke(
    accounts: AccountsDependency, body: Annotated[RevokeRequest, Depends(FormOrJson(RevokeRequest))]
) -> Response:
    """Ends a login: all its refresh tokens become invalid. Answers 200 for an unknown token too
    (RFC 7009)."""
    await accounts.refresh_tokens.revoke(str(body.token or body.refresh_token))
    return json_answer(documents.Revoked(), headers=NO_STORE)


@router.get(
    "/users/me/",
    operation_id="accounts_me",
    summary="Read your own account",
    response_model=documents.User,
    responses=documented(),
)
async def me(caller: PersonDependency, accounts: AccountsDependency) -> Response:
    """Returns the account of the access token."""
    user = await users.find(accounts.engine, caller.user_id)
    if user is None:
        raise unauthorized("token-invalid", "The account of this token does not exist.")
    return json_answer(_user(user), headers={"Cache-Control": "private, no-cache"})


async def _check_credentials(accounts: Accounts, address: str, email: str, password: str) -> User:
    """The user. Raises Problem 401: the same after the same time for an unknown user as for a
    wrong password."""
    account = users.email_key(email)
    # Whoever guesses elsewhere does not keep the owner out of an account.
    known = accounts.failed_logins.is_known(account, address)
    attempts = f"{account} {address}" if known else account
    accounts.failed_logins.attempt(attempts)
    user = await users.find_by_email(accounts.engine, email)
    if user is not None and not users.is_same_address(user.email, email):
        user = None
    stored_hash = None if user is None else user.password_hash
    verified = await accounts.passwords.verify(stored_hash, password)
    if user is None or not verified:
        logger.info("login refused")
        _refuse_credentials()
    accounts.failed_logins.succeeded(attempts)
    accounts.failed_logins.remember(account, address)
    logger.info("logged in: %s", user.id)
    if accounts.passwords.needs_rehash(user.password_hash):
        await users.replace_hash(accounts.engine, user, await accounts.passwords.hash(password))
    return user


def _refuse_credentials() -> NoReturn:
    raise Problem(
        401,
        "invalid-credentials",
        "E-mail address and password do not match.",
        {"WWW-Authenticate": "Bearer"},
        error="invalid_grant",
        error_description="E-mail address and password do not match.",
    )


async def _refreshed(accounts: Accounts, token: str) -> Response:
    try:
        rotated = await accounts.refresh_tokens.rotate(token)
    except RefreshRefused as refused:
        raise unauthorized(refused.slug, "The refresh token is no longer valid.") from None
    await failpoints.reach("refresh-rotated")
    return _tokens(accounts, rotated.user_id, rotated.role, rotated.token)


def _tokens(accounts: Accounts, user_id: UUID, role: Role, token: str) -> Response:
    access_token = accounts.access_tokens.issue(user_id, role)
    lifetime_s = accounts.access_tokens.lifetime_s
    tokens = documents.Tokens(access_token, token, "bearer", lifetime_s)
    return json_answer(tokens, headers=NO_STORE)


def _user(user: User) -> documents.User:
    return documents.User(user.id, user.email, user.role, json_time(user.created_at))
