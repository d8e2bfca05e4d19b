"""Accounts for tests, with a token of theirs."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts import key_store
from order_service.accounts.api_keys import SCOPES, Scope
from order_service.accounts.key_store import NewKey
from order_service.accounts.users import create_user

PASSWORD = "a-long-enough-passphrase"


@dataclass(frozen=True)
class Account:
    user_id: str
    email: str
    headers: dict[str, str]


async def new_account(
    web: httpx.AsyncClient, web_engine: AsyncEngine, role: str = "customer"
) -> Account:
    email = f"{role}-{uuid4().hex[:8]}@example.com"
    user = await create_user(web_engine, email, PASSWORD, role)
    answer = await web.post("/token/", data={"username": email, "password": PASSWORD})
    token = answer.raise_for_status().json()["access_token"]
    return Account(str(user.id), email, {"Authorization": f"Bearer {token}"})


async def new_key(
    web_engine: AsyncEngine,
    *scopes: Scope,
    acts_for: Account | None = None,
    rate_limit: str | None = None,
) -> Account:
    """A program with these scopes, or with all: `user_id` is the key's id."""
    user = None if acts_for is None else UUID(acts_for.user_id)
    wanted = NewKey("a program", scopes or SCOPES, rate_limit, acts_for=user)
    stored, key = await key_store.create(web_engine, wanted, None)
    return Account(str(stored.id), "", {"Authorization": f"Bearer {key}"})
