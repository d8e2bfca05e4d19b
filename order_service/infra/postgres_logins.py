"""Logins to PostgreSQL that can be one role only, so that a process that is broken into cannot
become another."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.infra.postgres import PROJECTOR, WEB, Role
from order_service.settings import Settings

_IS_THERE = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :login)")
# Put together by the server, since statements like these take no parameters.
_MAKE = text(
    "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', "
    "CAST(:login AS text), CAST(:password AS text), CAST(:role AS text))"
)
_CHANGE = text(
    "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', "
    "CAST(:login AS text), CAST(:password AS text))"
)


def login_of(role: Role, database: str) -> str:
    """By database, since logins belong to the whole server. `order_service.stack.settings` and
    docker-compose.yml name it so too."""
    return f"{database}_{role.removeprefix('order_')}"


async def make_logins(connection: AsyncConnection, settings: Settings) -> None:
    """Where a role's password is given, there is a login with it that can be that role only."""
    passwords = {WEB: settings.DB_WEB_PASSWORD, PROJECTOR: settings.DB_PROJECTOR_PASSWORD}
    for role, password in passwords.items():
        if not password:
            continue
        wanted = {"login": login_of(role, settings.DB_NAME), "password": password, "role": role}
        is_there = (await connection.execute(_IS_THERE, wanted)).scalar_one()
        made = await connection.execute(_CHANGE if is_there else _MAKE, wanted)
        await connection.exec_driver_sql(made.scalar_one())
