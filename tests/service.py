"""The service as clients meet it, one request after the other: it runs while it is asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from order_service.db import WEB, create_engine
from order_service.settings import Settings
from tests.accounts import Account, new_account
from tests.conftest import serving_with
from tests.proxy import Proxy, proxy_to

REPLY_LOST_S = 5.0


@dataclass(frozen=True)
class Sent:
    """One request; sent again it is the same, byte for byte."""

    by: Account
    method: str
    path: str
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def dry(self) -> "Sent":
        return replace(self, path=f"{self.path}?dry_run=true")

    async def to(self, web: httpx.AsyncClient) -> httpx.Response:
        headers = self.by.headers | self.headers
        if self.body is None:
            return await web.request(self.method, self.path, headers=headers)
        return await web.request(self.method, self.path, headers=headers, json=self.body)


@dataclass(frozen=True)
class Service:
    """A web process, and a way to it on which replies get lost."""

    runner: asyncio.Runner
    web: httpx.AsyncClient
    lossy: httpx.AsyncClient
    proxy: Proxy
    owner: Account
    staff: Account

    def answer(self, sent: Sent) -> httpx.Response:
        return self.answers(sent)[0]

    def answers(self, *sent: Sent) -> list[httpx.Response]:
        """To requests that are sent at once."""

        async def all_of_them() -> list[httpx.Response]:
            return [*await asyncio.gather(*(one.to(self.web) for one in sent))]

        answers = self.runner.run(all_of_them())
        assert all(answer.status_code < 500 for answer in answers)
        return answers

    def lose_reply_to(self, sent: Sent) -> None:
        """The service has answered; the client will never know."""
        self.runner.run(self._lose_reply_to(sent))

    async def _lose_reply_to(self, sent: Sent) -> None:
        self.proxy.replies = False
        self.proxy.swallowed.clear()
        waiting = asyncio.ensure_future(sent.to(self.lossy))
        async with asyncio.timeout(REPLY_LOST_S):
            await self.proxy.swallowed.wait()
        self.proxy.cut()
        with suppress(httpx.TransportError):
            await waiting
        self.proxy.replies = True


@contextmanager
def service_of(settings: Settings) -> Iterator[Service]:
    with asyncio.Runner() as runner:
        running = _running(runner, settings)
        service = runner.run(running.__aenter__())
        try:
            yield service
        finally:
            runner.run(running.__aexit__(None, None, None))


@asynccontextmanager
async def _running(runner: asyncio.Runner, settings: Settings) -> AsyncIterator[Service]:
    engine = create_engine(settings, WEB, application_name="test-web")
    async with serving_with(settings) as web:
        owner = await new_account(web, engine)
        staff = await new_account(web, engine, role="staff")
        async with proxy_to("127.0.0.1", web.base_url.port or 0) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            async with httpx.AsyncClient(base_url=url, timeout=10) as lossy:
                yield Service(runner, web, lossy, proxy, owner, staff)
    await engine.dispose()
