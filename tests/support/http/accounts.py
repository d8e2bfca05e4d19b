"""Accounts for tests, with a token of theirs."""

from dataclasses import dataclass
from uuid import uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

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
