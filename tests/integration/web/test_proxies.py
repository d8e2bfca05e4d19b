"""Behind proxies: each customer has an address of his own, and nobody can choose one."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.main import create_app
from order_service.settings import Settings
from tests.conftest import serving, serving_with
from tests.integration.api.test_full_orders import full
from tests.support.http.accounts import new_account
from tests.support.http.orders import place
from tests.support.http.raw_http import Answer, wire
from tests.support.http.sse import listening
from tests.support.servers.reverse_proxy import PROXIES, reverse_proxy
from tests.support.waiting import WAIT_S

JSON = {"Content-Type": "application/json"}
CUSTOMERS = 25
LOGINS = 10  # a minute from one address: a tenth of RATE_LIMIT


def forwarded(host: str) -> dict[str, str]:
    return {"X-Forwarded-For": host}


async def log_in(client: httpx.AsyncClient, headers: dict[str, str]) -> int:
    """Refused for its form, once the address is counted."""
    return (await client.post("/token/", json={}, headers=headers)).status_code


# --- without a proxy's program --------------------------------------------------------------------


async def test_25_customers_of_one_proxy_have_limits_of_their_own(
    settings: Settings, redis: Redis
) -> None:
    async with serving_with(
        settings, RATE_LIMIT="100/minute", TRUSTED_PROXIES="127.0.0.0/8"
    ) as web:
        first = [
            await log_in(web, forwarded(f"203.0.113.{n}"))
            for n in range(CUSTOMERS)
            for _ in range(2)
        ]
        one = [await log_in(web, forwarded("203.0.113.7")) for _ in range(LOGINS - 2 + 1)]
        network = [await log_in(web, forwarded(f"2001:db8::{n}")) for n in range(LOGINS + 1)]
        another = await log_in(web, forwarded("2001:db8:0:1::1"))
        proxy_itself = await log_in(web, {})

    assert set(first) == {422}
    assert one == [422] * (LOGINS - 2) + [429]
    assert network == [422] * LOGINS + [429]
    assert (another, proxy_itself) == (422, 422)


@pytest.mark.parametrize("proxies", ["", "10.0.0.0/8,127.0.0.2/32"])
async def test_the_fields_of_others_count_for_nothing(
    settings: Settings, redis: Redis, proxies: str
) -> None:
    async with serving_with(settings, RATE_LIMIT="100/minute", TRUSTED_PROXIES=proxies) as web:
        spoofed = [
            await log_in(web, {**forwarded(f"203.0.113.{n}"), "Forwarded": f"for=203.0.113.{n}"})
            for n in range(LOGINS + 1)
        ]
        https = await web.get("/version", headers={"X-Forwarded-Proto": "https"})

    assert spoofed == [422] * LOGINS + [429]
    assert "strict-transport-security" not in https.headers


async def test_both_ways_go_by_the_client_s_address(
    settings: Settings, redis: Redis, web_engine: AsyncEngine
) -> None:
    """The fast path, FastAPI's routes, paths without a route, and the answers of each."""
    given = settings.model_dump() | {"RATE_LIMIT": "20/minute", "TRUSTED_PROXIES": "127.0.0.1"}
    async with serving(create_app(Settings.model_validate(given))) as web:
        account = await new_account(web_engine)
        headers = {**account.headers, "Forwarded": "for=203.0.113.7;proto=https"}
        order = await place(web, account)
        path = f"/orders/{order.json()['id']}/"
        answers = [
            await web.get(path, headers=headers | extra)
            for extra in ({}, {"Prefer": "respond-async"})
        ]
        remaining = [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers]
        unknown = await web.get("/nothing/", headers=headers)
        plain = await web.get(path, headers=account.headers)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert remaining == ['"orders-read-address";r=19', '"orders-read-address";r=18']
    assert unknown.headers["ratelimit"].startswith('"other-address";r=19;')
    for answer in (*answers, unknown):
        assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert "strict-transport-security" not in plain.headers
    assert plain.headers["ratelimit"].startswith('"orders-read-address";r=19;')


async def test_one_address_has_half_of_the_connections(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's connections are those of many clients."""
    monkeypatch.setattr("order_service.limits.CONNECTIONS_MAX", 4)
    get = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"

    async def answers_of(web: httpx.AsyncClient) -> tuple[Answer, Answer]:
        """Of the second and the third connection at once."""
        async with wire(web) as first, wire(web) as second:
            for wired in (first, second):
                wired.send(get)
                answer = await wired.answer()
            async with wire(web) as third:
                third.send(get)
                return answer, await third.answer()

    async with serving_with(settings) as web:
        twice = [await answers_of(web) for _ in range(2)]  # the first ones are counted no more
    async with serving_with(settings, TRUSTED_PROXIES="127.0.0.1") as web:
        behind_proxy = await answers_of(web)

    assert [[answer.status for answer in answers] for answers in twice] == [[200, 503]] * 2
    assert [answer.status for answer in behind_proxy] == [200, 200]


# --- nginx and HAProxy ----------------------------------------------------------------------------


@asynccontextmanager
async def customer(port: int, certificate: Path, address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy, at this address of loopback."""
    transport = httpx.AsyncHTTPTransport(
        verify=ssl.create_default_context(cafile=str(certificate)), local_address=address
    )
    async with httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{port}", transport=transport, timeout=WAIT_S
    ) as client:
        yield client


@pytest.mark.parametrize("name", PROXIES)
async def test_the_service_behind_a_proxy_s_program(
    settings: Settings,
    redis: Redis,
    web_engine: AsyncEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """TLS; 25 customers, each with limits of his own; kept connections; a stream that nothing
    holds back; an order as large as one may be; HTTP/2 on the client's side."""
    given = settings.model_dump() | {"RATE_LIMIT": "100/minute", "TRUSTED_PROXIES": "127.0.0.1"}
    app = create_app(Settings.model_validate(given))
    proxies = app.state.admission.trusted_proxies
    include, connections = proxies.include, []

    def noted(host: str) -> bool:
        connections.append(host)
        return bool(include(host))

    monkeypatch.setattr(proxies, "include", noted)  # records, and changes nothing
    async with serving(app) as web:
        account = await new_account(web_engine)
        service = f"127.0.0.1:{web.base_url.port}"
        connections.clear()
        async with reverse_proxy(name, tmp_path, service) as port:
            certificate = tmp_path / "cert.pem"
            for number in range(CUSTOMERS):
                async with customer(port, certificate, f"127.0.1.{number + 1}") as one:
                    assert {await log_in(one, {}) for _ in range(2)} == {422}
            async with customer(port, certificate, "127.0.1.1") as one:
                spoofed = {**forwarded("203.0.113.9"), "Forwarded": "for=203.0.113.9"}
                logins = [await log_in(one, spoofed) for _ in range(LOGINS - 2 + 1)]
                order = await place(one, account)
                path = f"/orders/{order.json()['id']}/"
                read = await one.get(path, headers=account.headers)
                async with listening(one, f"{path}stream", account.headers) as stream:
                    placed = await stream.take(1)
                    note = {"text": "Ring twice."}
                    await one.post(f"{path}notes/", json=note, headers=account.headers)
                    changed = await stream.take(1)
                body = json.dumps(full("漢")).encode()
                large = await one.post("/orders/", content=body, headers=account.headers | JSON)
            version = await asyncio.to_thread(_version_by_curl, port, certificate)

    assert logins == [422] * (LOGINS - 2) + [429]
    assert (order.status_code, read.status_code, large.status_code) == (201, 200, 201)
    assert read.headers["strict-transport-security"].startswith("max-age=")
    assert read.headers["ratelimit"].startswith('"orders-read-address";r=99;')
    assert read.headers["etag"] == '"1-zstd"'  # the proxy passes both on: coding and tag
    assert read.json() == order.json()
    assert [sent.event for sent in placed + changed] == ["OrderPlaced", "OrderNoteAdded"]
    assert version in ("2", None)
    assert set(connections) == {"127.0.0.1"}
    assert len(connections) <= 4, "for more than 60 requests and a stream"


def _version_by_curl(port: int, certificate: Path) -> str | None:
    """The version of HTTP that curl speaks with the proxy; None: this machine's curl has only 1.1,
    or there is none."""
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.check_output([curl, "--version"], text=True):
        return None
    command = [curl, "--silent", "--show-error", "--fail", "--http2", "--cacert", str(certificate)]
    shown = ["--output", "-", "--write-out", "%{http_version}"]
    address = f"https://127.0.0.1:{port}/version"
    printed = subprocess.check_output([*command, *shown, address], text=True, timeout=WAIT_S)
    assert printed.startswith('{"version":')
    return printed.rpartition("}")[2]
