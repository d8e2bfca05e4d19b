"""A user, the tokens of a login, tickets for event streams, and API keys."""

from typing import Annotated, Literal
from uuid import UUID

from order_service.accounts.api_keys import Scope
from order_service.accounts.tokens import Role
from order_service.documents.shape import Document, Instant, instant, means


class User(Document):
    id: UUID
    email: str
    role: Role
    created_at: Instant


class Tokens(Document):
    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: Annotated[int, means("How many seconds the access token is valid.")]


class OrderAccess(Document):
    order_id: UUID
    access_token: Annotated[str, means("Reads this order and its parts; changes nothing.")]
    token_type: Literal["bearer"]
    expires_in: Annotated[int, means("How many seconds the access token is valid.")]


class Revoked(Document):
    """Empty on purpose: the response does not show whether the token existed (RFC 7009)."""


class StreamTicket(Document):
    ticket: str
    expires_in: Annotated[int, means("How many seconds the ticket is valid. It can be used once.")]


class ApiKey(Document):
    id: Annotated[UUID, means("The id of the actor in events; each rotation keeps it.")]
    name: str
    prefix: Annotated[str, means("How the key begins, so that it can be recognised.")]
    scopes: list[Scope]
    rate_limit: Annotated[str | None, means("Its own limit; null: RATE_LIMIT.")]
    acts_for: Annotated[UUID | None, means("The only user it acts for; null: any.")]
    created_at: Instant
    created_by: Annotated[UUID | None, means("The admin; null: the command line.")]
    expires_at: Annotated[Instant, instant("When it ends; null: never.")] | None
    last_used_at: (
        Annotated[Instant, instant("The minute of its last use; null: it was not used yet.")] | None
    )
    rotated_at: Annotated[Instant, instant("The last rotation.")] | None
    previous_until: (
        Annotated[Instant, instant("Until when the key before the last rotation holds.")] | None
    )
    revoked_at: Annotated[Instant, instant("When it was revoked; null: it was not.")] | None


class NewApiKey(ApiKey, kw_only=True):
    key: Annotated[str, means("The whole key, shown in this response only.")]


class ApiKeys(Document):
    items: list[ApiKey]
