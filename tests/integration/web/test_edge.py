"""The edge of every request: framing, headers, problem documents, CORS, health."""

import asyncio
import re
from collections.abc import AsyncIterator
from html import escape

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from order_service.limits import BODY_BYTES_MAX
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web import response_headers
from order_service.web.problems.catalogue import CATALOGUE
from tests.conftest import run_sql, serving
from tests.support.http.accounts import PASSWORD, new_account
from tests.support.http.orders import ITEMS
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import WAIT_S, eventually

ORIGIN = {"Origin": "http://localhost"}
JSON = {"Content-Type": "application/json"}


async def raw(web: httpx.AsyncClient, request: bytes) -> bytes:
    """What the server answers to these very bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_an_error_is_a_problem_document_with_the_request_id(web: httpx.AsyncClient) -> None:
    response = await web.get("/users/me/", headers={"X-Request-Id": "my-request-7"})

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"] == "my-request-7"
    assert response.json() == {
        "type": "/problems/authentication-required",
        "title": "Authentication required",
        "status": 401,
        "detail": "Send an access token: Authorization: Bearer <token>.",
        "instance": "my-request-7",
        "request_id": "my-request-7",
    }


@pytest.mark.parametrize("sent", ["short", "x" * 200, "with space inside", "<script>alert(1)"])
async def test_a_strange_request_id_is_replaced(web: httpx.AsyncClient, sent: str) -> None:
    response = await web.get("/healthz", headers={"X-Request-Id": sent})

    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_problem_type_is_explained(web: httpx.AsyncClient) -> None:
    pages = {slug: await web.get(f"/problems/{slug}") for slug in CATALOGUE}

    assert [slug for slug, page in pages.items() if page.status_code != 200] == []
    unsaid = [
        (slug, text)
        for slug, kind in CATALOGUE.items()
        for text in (kind.meaning, kind.cause, kind.remedy, *kind.members, *kind.may_have)
        if escape(text) not in pages[slug].text
    ]
    assert unsaid == []
    assert (await web.get("/problems/unknown")).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/users/me/", "/nothing"])
async def test_security_headers_are_on_every_answer(web: httpx.AsyncClient, path: str) -> None:
    headers = (await web.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == response_headers.CONTENT_SECURITY_POLICY.decode()
    assert "ratelimit" in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/users/me", 401),
        ("/healthz", 200),
        ("/docs", 200),
        ("/version", 200),
        ("/problems/validation", 200),
    ],
)
async def test_paths_answer_with_and_without_trailing_slash(
    web: httpx.AsyncClient, path: str, status: int
) -> None:
    with_slash, without = await web.get(f"{path}/"), await web.get(path)

    assert (with_slash.status_code, without.status_code) == (status, status)


async def test_the_version_is_public(web: httpx.AsyncClient) -> None:
    answer = await web.get("/version")

    assert (answer.status_code, answer.json()) == (200, {"version": "0.2.0"})
    assert answer.headers["cache-control"] == "no-store"


async def test_a_body_may_go_to_a_path_without_its_trailing_slash(web: httpx.AsyncClient) -> None:
    refused = await web.post("/register", json={})

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")


@pytest.mark.parametrize("path", ["/register/", "/register"])
async def test_405_names_all_methods_of_the_path(web: httpx.AsyncClient, path: str) -> None:
    response = await web.delete(path)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {**JSON, "Content-Encoding": "gzip"},
        {"Content-Type": ""},
    ],
)
async def test_another_media_type_is_415(web: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await web.post("/register/", content=b"{}", headers=headers)

    assert response.status_code == 415
    assert response.headers["accept-post"] == "application/json"


async def test_a_body_that_says_it_is_too_large_is_413(web: httpx.AsyncClient) -> None:
    response = await web.post("/register/", content=b"x" * (BODY_BYTES_MAX + 1), headers=JSON)

    assert response.status_code == 413
    assert response.json()["max_bytes"] == BODY_BYTES_MAX


async def test_a_body_that_turns_out_too_large_is_413(web: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 65_536 + 1):
            yield b" " * 65_536

    response = await web.post("/register/", content=chunks(), headers=JSON)

    assert response.status_code == 413


@pytest.mark.parametrize(
    "head",
    [
        b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Host: a\r\nHost: b\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\n",
        b"Host: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
    ],
)
async def test_ambiguous_framing_is_refused(web: httpx.AsyncClient, head: bytes) -> None:
    answer = await raw(web, b"POST /register/ HTTP/1.1\r\n" + head + b"\r\n{}")

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_errors_carry_cors_headers(web: httpx.AsyncClient) -> None:
    for response in (
        await web.get("/users/me/", headers=ORIGIN),
        await web.get("/nothing", headers=ORIGIN),
        await web.post("/register/", content=b"x" * (BODY_BYTES_MAX + 1), headers=ORIGIN),
    ):
        assert response.is_client_error
        assert response.headers["access-control-allow-origin"] == "http://localhost"
        assert "Consistency-Token" in response.headers["access-control-expose-headers"]


async def test_another_origin_gets_no_cors_headers(web: httpx.AsyncClient) -> None:
    response = await web.get("/users/me/", headers={"Origin": "http://localhost.evil.example"})

    assert "access-control-allow-origin" not in response.headers


async def test_a_preflight_allows_what_the_contract_names(web: httpx.AsyncClient) -> None:
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,if-match,idempotency-key,traceparent",
    }

    assert (await web.options("/register/", headers=asked)).status_code == 200


async def test_a_mistake_of_ours_is_a_500_without_internals(settings: Settings) -> None:
    app = create_app(settings)

    async def broken(request: Request) -> Response:
        raise RuntimeError("secret internals")

    app.add_route("/broken", broken)
    async with serving(app) as client:
        response = await client.get("/broken", headers=ORIGIN)

    assert response.status_code == 500
    assert response.json()["type"] == "/problems/internal-error"
    assert response.json()["instance"] == response.headers["x-request-id"]
    assert response.headers["access-control-allow-origin"] == "http://localhost"
    assert "secret" not in response.text


async def test_steps_are_taken_in_the_documented_order(settings: Settings, redis: Redis) -> None:
    """Media type, then the address's limit, then authentication."""
    limited = settings.model_copy(update={"RATE_LIMIT": "10/hour"})
    async with serving(create_app(limited)) as client:
        form = {"Content-Type": "text/plain"}
        uncounted = [await client.post("/register/", content=b"{}", headers=form) for _ in range(3)]
        malformed = await client.post("/register/", content=b"{", headers=JSON)
        exhausted = await client.post("/register/", content=b"{", headers=JSON)
        still = await client.post("/register/", content=b"{}", headers=form)

    assert [r.status_code for r in uncounted] == [415] * 3
    assert [r.status_code for r in (malformed, exhausted, still)] == [400, 429, 415]


async def test_the_documentation_loads_nothing_from_elsewhere(web: httpx.AsyncClient) -> None:
    page = await web.get("/docs")

    policy = page.headers["content-security-policy"].split("; ")
    allowed = {word for directive in policy for word in directive.split()[1:]}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    sources = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert [(await web.get(source)).status_code for source in sources] == [200] * 4
    assert "://" not in page.text


async def test_the_openapi_document_is_served(web: httpx.AsyncClient) -> None:
    document = (await web.get("/openapi.json")).json()

    scheme = document["components"]["securitySchemes"]["OAuth2PasswordBearer"]
    assert scheme["flows"]["password"]["tokenUrl"] == "/token/"
    # JSON is taken, too; clients are generated for one of them.
    assert set(document["paths"]["/token/"]["post"]["requestBody"]["content"]) == {
        "application/x-www-form-urlencoded"
    }


async def test_the_documentation_can_be_switched_off(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"DOCS_ENABLED": False}))
    async with serving(app) as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 404


async def test_ready_names_what_is_missing(settings: Settings) -> None:
    async with proxy_to(settings.REDIS_HOST, settings.REDIS_PORT) as proxy:
        proxy.replies = False
        proxied = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": proxy.port}
        async with serving(create_app(settings.model_copy(update=proxied))) as client:
            response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"]["database"] == "ok"
    assert response.json()["checks"]["broker"] == "ok"
    assert response.json()["checks"]["cache"] != "ok"


async def test_ready_says_where_orders_do_not_come_along(settings: Settings) -> None:
    """Every server answers, and yet: nobody publishes or projects what is there since a minute."""
    await run_sql(
        settings,
        "INSERT INTO events (partition, position, stream_id, version, event_id, type,"
        " schema_version, data, metadata, recorded_at) SELECT 0, 1, gen_random_uuid(), 1,"
        " gen_random_uuid(), 'OrderPlaced', 1, '{}', '[]', clock_timestamp() - interval '1 minute'",
        settings.DB_NAME,
    )
    await run_sql(
        settings, "UPDATE partitions SET position = 1 WHERE partition = 0", settings.DB_NAME
    )

    async with serving(create_app(settings)) as client:
        response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"] == {
        "database": "ok",
        "append": "ok",
        "broker": "ok",
        "cache": "ok",
        "lag": "Lagging",
    }


async def test_a_known_caller_learns_how_long_a_success_took(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    """A refusal's time would help to guess what exists, a login's which accounts do."""
    account = await new_account(web_engine)
    headers = account.headers

    timed = [
        await web.get("/users/me/", headers=headers),
        await web.head("/users/me/", headers=headers),
        await web.post("/stream-tickets/", headers=headers),
    ]
    untimed = [
        await web.get("/version"),
        await web.post("/token/", data={"username": account.email, "password": PASSWORD}),
        await web.get("/users/00000000-0000-4000-8000-000000000000/summary/", headers=headers),
        await web.get("/orders/A-1-8/", headers=headers),
        await web.post("/orders/", json={"items": ITEMS}, headers=headers),  # the fast path
    ]

    assert [answer.is_success for answer in timed] == [True] * 3
    for answer in timed:
        assert re.fullmatch(r"app;dur=[0-9]+\.[0-9]", answer.headers["server-timing"])
    assert [answer.status_code for answer in untimed] == [200, 200, 403, 404, 201]
    assert not any("server-timing" in answer.headers for answer in untimed)


NO_APPENDS = {
    "a read-only database": "ALTER DATABASE {} SET default_transaction_read_only = on",
    "no right": "REVOKE EXECUTE ON FUNCTION append FROM order_web",
    "no function": "DROP FUNCTION append",
    "no table": "ALTER TABLE events RENAME TO facts",
}


@pytest.mark.parametrize("fault", NO_APPENDS)
async def test_a_service_that_cannot_append_is_not_ready(settings: Settings, fault: str) -> None:
    """Every read works, and no order could be placed."""
    await run_sql(settings, NO_APPENDS[fault].format(settings.DB_NAME), settings.DB_NAME)

    async with serving(create_app(settings)) as client:
        response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"] | {"lag": "ok"} == {
        "database": "ok",
        "append": "AppendError",
        "broker": "ok",
        "cache": "ok",
        "lag": "ok",
    }


async def test_a_clients_trace_is_named_by_problems_and_a_broken_one_is_not(
    web: httpx.AsyncClient,
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    path = "/orders/00000000-0000-4000-8000-000000000000/"
    answers = [
        await web.get(
            asked,
            headers={
                "Authorization": "Bearer none",
                "traceparent": f"00-{sent}-b7ad6b7169203331-01",
            },
        )
        for asked in (path, f"{path}events/")  # on the fast path, and not
        for sent in (trace, "0" * 32)
    ]

    assert [answer.json().get("trace_id") for answer in answers] == [trace, None, trace, None]


async def test_a_database_that_goes_away_is_a_503_and_comes_back(settings: Settings) -> None:
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        proxied = {"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port}
        async with serving(create_app(settings.model_copy(update=proxied))) as client:
            body = {"refresh_token": "unknown"}
            proxy.cut()
            lost = await client.post("/token/refresh/", json=body)
            async with asyncio.timeout(WAIT_S):
                while lost.status_code == 401:  # the process itself has noticed it before
                    proxy.cut()
                    lost = await client.post("/token/refresh/", json=body)
            await eventually(
                lambda: client.post("/token/refresh/", json=body),
                lambda answer: answer.status_code == 401,
            )

    assert lost.status_code == 503
    assert lost.json()["type"] == "/problems/dependency-unavailable"
    assert lost.json()["dependency"] == "database"
    assert lost.headers["retry-after"] == "1"


async def test_a_hung_database_leaves_the_process_healthy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.DRIVER_TIMEOUT_S", 2 * WAIT_S)
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        proxied = {"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port}
        async with serving(create_app(settings.model_copy(update=proxied))) as client:
            proxy.replies = False
            async with asyncio.timeout(WAIT_S):
                ready, health = await asyncio.gather(client.get("/readyz"), client.get("/healthz"))
            proxy.replies = True
            proxy.cut()

    assert (ready.status_code, health.status_code) == (503, 200)
    assert ready.json()["checks"]["database"] == "TimeoutError"


async def test_a_database_of_another_revision_is_not_served(settings: Settings) -> None:
    await run_sql(settings, "UPDATE alembic_version SET version_num = '0000'", settings.DB_NAME)
    app = create_app(settings)

    with pytest.raises(RuntimeError, match=r"schema revision is 0000.*entrypoint.sh migrate"):
        async with app.router.lifespan_context(app):
            pass
