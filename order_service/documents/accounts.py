"""A user and the tokens of a login."""

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
    expires_in: Annotated[int, means("Seconds for which the access token is good.")]


class Revoked(Document):
    """Empty: that there is nothing to say about the token is on purpose (RFC 7009)."""


class StreamTicket(Document):
    ticket: str
    expires_in: Annotated[int, means("Seconds for which it is good, once.")]
