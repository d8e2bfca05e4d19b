"""Accounts over HTTP: registration, login, rotation of refresh tokens."""

import asyncio
from collections import Counter
from time import process_time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts.users import create_user
from order_service.errors import InvalidRequest, RuleViolation
from order_service.settings import Settings
from tests.conftest import run_sql

PASSWORD = "correct horse battery staple"


async def register(web: httpx.AsyncClient, email: str = "ann@example.com") -> httpx.Response:
    return await web.post("/register/", json={"email": email, "password": PASSWORD})


async def log_in(
    web: httpx.AsyncClient, email: str = "ann@example.com", password: str = PASSWORD
) -> httpx.Response:
    return await web.post("/token/", json={"email": email, "password": password})


@pytest.fixture
async def ann(web: httpx.AsyncClient) -> dict[str, Any]:
    """The tokens of a registered customer."""
    await register(web)
    tokens: dict[str, Any] = (await log_in(web)).json()
    return tokens


async def refresh(web: httpx.AsyncClient, token: str) -> httpx.Response:
    return await web.post("/token/refresh/", json={"refresh_token": token})


async def test_who_registers_is_a_customer(web: httpx.AsyncClient) -> None:
    response = await register(web, "Ann@Example.com")

    assert response.status_code == 201
    assert response.headers["location"] == "/users/me/"
    assert set(response.json()) == {"id", "email", "role", "created_at"}
    assert (response.json()["email"], response.json()["role"]) == ("Ann@example.com", "customer")


async def test_an_address_is_taken_in_every_spelling(web: httpx.AsyncClient) -> None:
    await register(web, "ann@example.com")

    response = await register(web, "ANN@EXAMPLE.COM")

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/email-taken"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"email": "ann", "password": PASSWORD}, "#/email"),
        ({"email": f"{'a' * 300}@example.com", "password": PASSWORD}, "#/email"),
        ({"email": "ann@example.com", "password": "short"}, "#/password"),
        ({"email": "ann@example.com", "password": "Password1"}, "#/password"),
        ({"email": "ann@example.com", "password": "aaaaaaaaaaaa"}, "#/password"),
        ({"email": "ann@example.com", "password": "é" * 513}, "#/password"),
        ({"email": "ann@example.com", "password": "with a \x00 in it"}, "#/password"),
        ({"email": "ann@example.com", "password": PASSWORD, "role": "admin"}, "#/role"),
    ],
)
async def test_a_refused_registration_points_at_the_field(
    web: httpx.AsyncClient, body: dict[str, str], pointer: str
) -> None:
    response = await web.post("/register/", json=body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert body["password"] not in response.text


async def test_a_login_by_the_oauth2_form_gives_tokens(web: httpx.AsyncClient) -> None:
    await register(web)

    form = {"grant_type": "password", "username": "ANN@example.com", "password": PASSWORD}
    response = await web.post("/token/", data={**form, "scope": "", "client_id": "swagger"})

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert set(response.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (response.json()["token_type"], response.json()["expires_in"]) == ("bearer", 1800)


async def test_an_access_token_opens_ones_own_account(
    web: httpx.AsyncClient, ann: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {ann['access_token']}"}

    response = await web.get("/users/me", headers=headers)

    assert response.status_code == 200
    assert response.json()["email"] == "ann@example.com"


async def test_unknown_user_and_wrong_password_cannot_be_told_apart(web: httpx.AsyncClient) -> None:
    """Byte for byte the same body, and the work of one hash in both cases: in CPU time of this
    process, which serves, so that other processes do not count."""
    emails = [f"user{n}@example.com" for n in range(5)]
    for email in emails:
        await register(web, email)

    async def refusals(names: list[str]) -> tuple[set[tuple[int, bytes]], float]:
        answers, times = set(), []
        for name in names:
            started = process_time()
            response = await web.post(
                "/token/",
                json={"email": name, "password": "wrong password"},
                headers={"X-Request-Id": "the-same-id"},
            )
            times.append(process_time() - started)
            answers.add((response.status_code, response.content))
        return answers, min(times)

    known, known_s = await refusals(emails)
    unknown, unknown_s = await refusals([f"no{n}@example.com" for n in range(5)])

    assert len(known) == 1
    assert known == unknown
    assert 0.33 < unknown_s / known_s < 3  # without the hash it is some 0.1


async def test_a_refused_login_speaks_oauth2_as_well(web: httpx.AsyncClient) -> None:
    response = await log_in(web)

    assert response.status_code == 401
    assert response.json()["type"] == "/problems/invalid-credentials"
    assert response.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "status", "kind"),
    [
        ({"grant_type": "client_credentials"}, 400, "/problems/unsupported-grant-type"),
        ({"grant_type": "refresh_token"}, 422, "/problems/validation"),
        ({"username": "ann@example.com"}, 422, "/problems/validation"),
        ({"username": "ann@example.com", "password": "x" * 1025}, 422, "/problems/validation"),
    ],
)
async def test_a_wrong_token_request_is_refused(
    web: httpx.AsyncClient, form: dict[str, str], status: int, kind: str
) -> None:
    response = await web.post("/token/", data=form)

    assert (response.status_code, response.json()["type"]) == (status, kind)


async def test_after_five_failures_an_account_waits(web: httpx.AsyncClient) -> None:
    """Ten attempts, since a minute may end among them."""
    await register(web)

    responses = [await log_in(web, password="wrong password") for _ in range(10)]

    assert {r.status_code for r in responses[:5]} == {401}
    last = responses[-1]
    assert last.status_code == 429
    assert last.json()["violated-policies"] == ["failed-logins"]
    assert 1 <= int(last.headers["retry-after"]) <= 60


async def test_many_guesses_at_once_are_no_more_than_five(web: httpx.AsyncClient) -> None:
    """Counted before the hash, not after it; twice five if a minute ends meanwhile."""
    await register(web)

    responses = await asyncio.gather(*(log_in(web, password=f"guess {n}") for n in range(30)))

    assert Counter(r.status_code for r in responses)[401] in range(5, 11)


async def test_a_refresh_gives_new_tokens(web: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    response = await refresh(web, ann["refresh_token"])

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["refresh_token"] != ann["refresh_token"]


async def test_a_refresh_works_by_grant_type_too(
    web: httpx.AsyncClient, ann: dict[str, Any]
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": ann["refresh_token"]}

    assert (await web.post("/token/", data=form)).status_code == 200


async def test_a_later_reuse_revokes_the_family(
    web: httpx.AsyncClient, ann: dict[str, Any], settings: Settings
) -> None:
    following = (await refresh(web, ann["refresh_token"])).json()["refresh_token"]
    longer_ago = "UPDATE refresh_tokens SET used_at = used_at - interval '11 s'"
    await run_sql(settings, longer_ago, settings.DB_NAME)

    reused = await refresh(web, ann["refresh_token"])

    assert (reused.status_code, reused.json()["type"]) == (401, "/problems/token-invalid")
    assert (await refresh(web, following)).status_code == 401


async def test_a_reuse_leaves_other_logins_alone(
    web: httpx.AsyncClient, ann: dict[str, Any], settings: Settings
) -> None:
    other = (await log_in(web)).json()["refresh_token"]
    await refresh(web, ann["refresh_token"])
    longer_ago = "UPDATE refresh_tokens SET used_at = used_at - interval '11 s'"
    await run_sql(settings, longer_ago, settings.DB_NAME)

    await refresh(web, ann["refresh_token"])

    assert (await refresh(web, other)).status_code == 200


async def test_rotation_never_prolongs_a_login(
    web: httpx.AsyncClient, ann: dict[str, Any], web_engine: AsyncEngine
) -> None:
    await refresh(web, ann["refresh_token"])

    async with web_engine.connect() as connection:
        expiries = text("SELECT count(*), count(DISTINCT expires_at) FROM refresh_tokens")
        assert (await connection.execute(expiries)).one() == (2, 1)


async def test_an_expired_refresh_token_is_refused(
    web: httpx.AsyncClient, ann: dict[str, Any], settings: Settings
) -> None:
    await run_sql(settings, "UPDATE refresh_tokens SET expires_at = now()", settings.DB_NAME)

    response = await refresh(web, ann["refresh_token"])

    assert (response.status_code, response.json()["type"]) == (401, "/problems/token-expired")


async def test_a_revoked_login_is_over(web: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    following = (await refresh(web, ann["refresh_token"])).json()["refresh_token"]

    revoked = await web.post("/token/revoke/", data={"token": following})

    assert revoked.status_code == 200
    assert (await refresh(web, following)).status_code == 401


async def test_revoking_an_unknown_token_is_fine(web: httpx.AsyncClient) -> None:
    assert (await web.post("/token/revoke/", json={"token": "unknown"})).status_code == 200


async def test_a_refresh_token_is_no_access_token(
    web: httpx.AsyncClient, ann: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {ann['refresh_token']}"}

    response = await web.get("/users/me/", headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_neither_password_nor_refresh_token_is_stored(
    ann: dict[str, Any], web_engine: AsyncEngine
) -> None:
    async with web_engine.connect() as connection:
        stored = await connection.execute(
            text(
                "SELECT u::text || encode(t.token_sha256, 'escape') FROM users u, refresh_tokens t"
            )
        )
        (row,) = stored.scalars()

    assert PASSWORD not in row
    assert ann["refresh_token"] not in row


@pytest.mark.parametrize("statement", ["UPDATE users SET role = 'admin'", "DELETE FROM users"])
async def test_the_web_role_changes_nobodys_role(web_engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with web_engine.begin() as connection:
            await connection.execute(text(statement))


async def test_staff_made_on_the_command_line_can_log_in(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    await create_user(web_engine, "sue@example.com", PASSWORD, "staff")
    token = (await log_in(web, "sue@example.com")).json()["access_token"]

    me = await web.get("/users/me/", headers={"Authorization": f"Bearer {token}"})

    assert me.json()["role"] == "staff"


async def test_a_wrong_user_is_not_made(web_engine: AsyncEngine) -> None:
    email = f"{uuid4().hex}@example.com"
    await create_user(web_engine, email, PASSWORD, "admin")

    with pytest.raises(RuleViolation, match="already"):
        await create_user(web_engine, email, PASSWORD, "admin")
    with pytest.raises(InvalidRequest, match="Unknown role"):
        await create_user(web_engine, "x@example.com", PASSWORD, "root")
    with pytest.raises(InvalidRequest, match="at least 8"):
        await create_user(web_engine, "x@example.com", "short", "staff")


async def test_a_login_renews_a_hash_of_older_parameters(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    await register(web)
    older = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    async with web_engine.begin() as connection:
        await connection.execute(text("UPDATE users SET password_hash = :hash"), {"hash": older})

    assert (await log_in(web)).status_code == 200

    async with web_engine.connect() as connection:
        stored = (await connection.execute(text("SELECT password_hash FROM users"))).scalar_one()
    assert "m=19456,t=2,p=1" in stored
    assert (await log_in(web)).status_code == 200
