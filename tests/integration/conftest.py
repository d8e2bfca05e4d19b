"""Fixtures of tests over HTTP: accounts of each kind, and the cache as its readers see it."""

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache import OrderCache
from tests.accounts import Account, new_account
from tests.read_side import order_cache


@pytest.fixture
async def cache(redis: Redis) -> OrderCache:
    return order_cache(redis)


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine)


@pytest.fixture
async def other(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web, web_engine, role="staff")
