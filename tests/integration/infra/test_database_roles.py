"""The rights of each PostgreSQL role, in one list; and logins that cannot switch roles."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import text

from order_service.infra.postgres import FAILURES, PROJECTOR, WEB, Role, check_role, create_engine
from order_service.infra.postgres_logins import login_of, make_logins
from order_service.settings import Settings
from tests.conftest import run_sql

READ, ALL = "SELECT", "DELETE INSERT SELECT UPDATE"
RIGHTS = {
    WEB: {
        "alembic_version": READ,
        "api_keys": "INSERT SELECT",
        "checkpoints": READ,
        "dead_letters": READ,
        "events": READ,
        "external_references": READ,
        "operator_requests": READ,
        "order_texts": READ,
        "partitions": READ,
        "read_models": READ,
        "rebuild_marks": READ,
        "rebuilds": READ,
        "refresh_tokens": "DELETE INSERT SELECT",
        "replays": READ,
        "skips": READ,
        "users": "INSERT SELECT",
    },
    PROJECTOR: {
        "checkpoints": ALL,
        "dead_letters": ALL,
        "events": READ,
        "operator_requests": READ,
        "partitions": READ,
        "read_models": ALL,
        "rebuild_marks": ALL,
        "rebuilds": ALL,
        "replays": "INSERT SELECT UPDATE",
        "skips": ALL,
    },
}
# Neither the user nor the id of an API key can be changed.
API_KEYS = [
    *("expires_at", "last_used_at", "name", "previous_sha256", "previous_until", "rate_limit"),
    *("revoked_at", "rotated_at", "scopes", "secret_sha256"),
]
COLUMNS = {
    "users": ["password_hash"],
    "refresh_tokens": ["revoked_at", "used_at"],
    "api_keys": API_KEYS,
}
# Web may insert requests but not complete them; the projector may complete but not insert them.
OPERATOR_REQUESTS = {
    (WEB, "INSERT", ("actor", "kind", "projection", "reason", "request_id", "stream_id")),
    (PROJECTOR, "UPDATE", ("claimed_at", "detail", "finished_at", "outcome")),
}
# Statements that a login must not run even as its own role.
ALTER = ("ALTER TABLE events ADD x int", "DROP TABLE partitions", "CREATE TABLE public.x ()")
FORBIDDEN = {
    WEB: (
        *ALTER,
        "DELETE FROM read_models.order_view",
        "UPDATE checkpoints SET position = 0",
        "ALTER TABLE read_models.order_view ADD x int",
    ),
    PROJECTOR: (*ALTER, "SELECT FROM users", "SELECT FROM refresh_tokens"),
}
PASSWORD = "a-long-enough-passphrase"


async def fetch(settings: Settings, sql: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=settings.DB_NAME,
    )
    try:
        return list(await connection.fetch(sql, *arguments))
    finally:
        await connection.close()


@pytest.mark.parametrize("role", [WEB, PROJECTOR])
async def test_a_role_has_these_rights_and_no_others(settings: Settings, role: Role) -> None:
    found = await fetch(
        settings,
        "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type) "
        "FROM information_schema.table_privileges "
        "WHERE grantee IN ($1, 'PUBLIC') AND table_schema = 'public' GROUP BY 1",
        role,
    )

    assert dict(map(tuple, found)) == RIGHTS[role]


async def test_only_the_web_role_may_append_and_it_updates_only_passwords_and_logins(
    settings: Settings,
) -> None:
    columns = await fetch(
        settings,
        "SELECT table_name, array_agg(column_name ORDER BY column_name) "
        "FROM information_schema.column_privileges WHERE grantee = $1 "
        "AND privilege_type = 'UPDATE' GROUP BY 1",
        WEB,
    )
    [appends] = await fetch(
        settings,
        "SELECT bool_and(has_function_privilege('order_web', oid, 'EXECUTE')), "
        "bool_or(has_function_privilege('order_projector', oid, 'EXECUTE')) "
        "FROM pg_proc WHERE proname = 'append'",
    )
    [creates] = await fetch(
        settings,
        "SELECT bool_or(has_schema_privilege(role, 'public', 'CREATE')), "
        "has_schema_privilege('order_web', 'read_models', 'CREATE') "
        "FROM unnest(ARRAY['order_web', 'order_projector']) role",
    )

    assert dict(map(tuple, columns)) == COLUMNS
    assert tuple(appends) == (True, False)
    assert tuple(creates) == (False, False)


async def test_web_inserts_operator_requests_and_the_projector_completes_them(
    settings: Settings,
) -> None:
    found = await fetch(
        settings,
        "SELECT grantee, privilege_type, array_agg(column_name ORDER BY column_name) "
        "FROM information_schema.column_privileges WHERE grantee = ANY ($1) "
        "AND table_name = 'operator_requests' AND privilege_type <> 'SELECT' GROUP BY 1, 2",
        [WEB, PROJECTOR],
    )

    assert {(role, right, tuple(columns)) for role, right, columns in found} == OPERATOR_REQUESTS


@pytest.fixture(params=[(WEB, PROJECTOR), (PROJECTOR, WEB)])
def login(
    settings: Settings, request: pytest.FixtureRequest
) -> Iterator[tuple[Settings, Role, Role]]:
    """Settings with the login that `migrate` creates for one role (created, then updated), that
    role, and the other role."""
    own, other = request.param
    for password in ("an-older-password", PASSWORD):
        asyncio.run(make(settings, {f"DB_{own[6:].upper()}_PASSWORD": password}))
    name = login_of(own, settings.DB_NAME)
    yield settings.model_copy(update={"DB_USER": name, "DB_PASSWORD": PASSWORD}), own, other
    asyncio.run(run_sql(settings, f"DROP ROLE {name}"))


async def make(settings: Settings, passwords: dict[str, str]) -> None:
    engine = create_engine(settings, None, application_name="test")
    async with engine.begin() as connection:
        await make_logins(connection, settings.model_copy(update=passwords))
    await engine.dispose()


async def test_a_login_of_one_role_cannot_switch_to_another(
    login: tuple[Settings, Role, Role],
) -> None:
    settings, own, other = login
    engine = create_engine(settings, own, application_name="test")
    await check_role(engine, own)
    for forbidden in (other, "order_user"):
        with pytest.raises(FAILURES, match="permission denied to set role"):
            async with engine.connect() as connection:
                await connection.execute(text(f"SET ROLE {forbidden}"))
    async with engine.connect() as connection:
        await connection.execute(text("SET ROLE NONE"))  # the login itself has no more rights
        with pytest.raises(FAILURES, match="permission denied"):
            await connection.execute(text("UPDATE events SET type = 'x'"))
    for statement in FORBIDDEN[own]:
        with pytest.raises(FAILURES, match=r"permission denied|must be owner"):
            async with engine.connect() as connection:
                await connection.execute(text(statement))
    await engine.dispose()

    stranger = create_engine(settings, other, application_name="test")
    with pytest.raises(FAILURES, match="permission denied to set role"):
        await check_role(stranger, other)
    await stranger.dispose()
