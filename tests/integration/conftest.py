"""Fixtures: accounts of each kind, the cache as its readers see it, the read side, the log."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.log.event_log import EventLog
from order_service.settings import Settings
from projections.loop.pauses import pauses
from tests.support.http.accounts import Account, new_account
from tests.support.log.event_log import opened
from tests.support.read_side.read_side import ReadSide, order_cache


@pytest.fixture
async def cache(redis: Redis, projector_engine: AsyncEngine) -> AsyncIterator[OrderCache]:
    """Each test begins with every partition free to advance, whatever failed in the one before."""
    yield await order_cache(redis, projector_engine)
    pauses.clear()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a turn ends when all is done, and a pause lasts."""
    monkeypatch.setattr("order_service.limits.ADVANCE_TIME_S", 60.0)
    monkeypatch.setattr("order_service.limits.ADVANCE_BACKOFF_S", (60.0,))


@pytest.fixture
def read_side(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> ReadSide:
    return ReadSide(web_engine, projector_engine, cache)


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[EventLog]:
    async with opened(settings) as log:
        yield log


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def other(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")
