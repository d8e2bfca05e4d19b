"""The service as clients meet it, one request after the other: it runs while it is asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from order_service.infra.postgres import WEB, create_engine
from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.servers.proxy import Proxy, proxy_to
from tests.support.waiting import WAIT_S


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
    """Two web processes on one database: commands are sent to the one, while queries, and commands
    whose replies get lost on the way, go to the other."""

    runner: asyncio.Runner
    webs: tuple[httpx.AsyncClient, httpx.AsyncClient]
    lossy: httpx.AsyncClient
    proxy: Proxy
    owner: Account
    staff: Account

    def answer(self, sent: Sent) -> httpx.Response:
        answer = self.runner.run(sent.to(self.webs[sent.method == "GET"]))
        assert answer.status_code < 500
        return answer

    def answers_to_both(self, sent: Sent) -> list[httpx.Response]:
        """The same request, sent to both at once."""

        async def both() -> list[httpx.Response]:
            return [*await asyncio.gather(*(sent.to(web) for web in self.webs))]

        return self.runner.run(both())

    def lose_reply_to(self, sent: Sent) -> None:
        """The service has answered; the client will never know."""
        self.runner.run(self._lose_reply_to(sent))

    async def _lose_reply_to(self, sent: Sent) -> None:
        self.proxy.replies = False
        self.proxy.swallowed.clear()
        waiting = asyncio.ensure_future(sent.to(self.lossy))
        async with asyncio.timeout(WAIT_S):
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
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving_with(settings))
        other = await stack.enter_async_context(serving_with(settings))
        engine = create_engine(settings, WEB, application_name="test-web")
        stack.push_async_callback(engine.dispose)
        owner = await new_account(engine)
        staff = await new_account(engine, role="staff")
        proxy = await stack.enter_async_context(proxy_to("127.0.0.1", other.base_url.port or 0))
        url = f"http://127.0.0.1:{proxy.port}"
        lossy = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=WAIT_S))
        yield Service(runner, (one, other), lossy, proxy, owner, staff)
