"""A user, the tokens of a login, and tickets for event streams."""

from typing import Annotated, Literal
from uuid import UUID

from order_service.accounts.tokens import Role
from order_service.documents.shape import Document, Instant, means


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


class Revoked(Document):
    """Empty on purpose: the response does not show whether the token existed (RFC 7009)."""


class StreamTicket(Document):
    ticket: str
    expires_in: Annotated[int, means("How many seconds the ticket is valid. It can be used once.")]
