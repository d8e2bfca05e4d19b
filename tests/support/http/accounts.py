"""Accounts for tests, with a token of theirs."""

from dataclasses import dataclass
from functools import cache
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts import key_store, passwords, users
from order_service.accounts.api_keys import SCOPES, Scope
from order_service.accounts.key_store import NewKey
from order_service.accounts.tokens import AccessTokens, Role
from order_service.settings import Settings

PASSWORD = "a-long-enough-passphrase"


@dataclass(frozen=True)
class Account:
    user_id: str
    email: str
    headers: dict[str, str]


async def new_account(web_engine: AsyncEngine, role: Role = "customer") -> Account:
    """With the password PASSWORD and a token as a login gives it. Without the login and the hashing
    of the password, which take 40 ms each, more than most tests."""
    email = f"{role}-{uuid4().hex[:8]}@example.com"
    user = await users.add(web_engine, email, _known_hash(), role)
    token = AccessTokens(Settings()).issue(user.id, role)  # type: ignore[call-arg]
    return Account(str(user.id), email, {"Authorization": f"Bearer {token}"})


@cache
def _known_hash() -> str:
    return passwords.hash_now(PASSWORD)


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
