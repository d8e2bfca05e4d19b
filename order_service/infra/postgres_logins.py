"""Logins to PostgreSQL that are members of one role only, so that an attacker in one process cannot
switch to another role."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.infra.postgres import PROJECTOR, WEB, Role
from order_service.settings import Settings

_EXISTS = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :login)")
# The server composes the statements: CREATE ROLE and ALTER ROLE take no parameters.
_CREATE = text(
    "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', "
    "CAST(:login AS text), CAST(:password AS text), CAST(:role AS text))"
)
_ALTER = text(
    "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', "
    "CAST(:login AS text), CAST(:password AS text))"
)


def login_of(role: Role, database: str) -> str:
    """The login's name. It contains the database's name, since all databases of a server share its
    logins. `order_service.stack.settings` and docker-compose.yml use the same name."""
    return f"{database}_{role.removeprefix('order_')}"


async def make_logins(connection: AsyncConnection, settings: Settings) -> None:
    """Creates or updates a login for each role that has a password in `settings`; the login can
    only switch to that role."""
    passwords = {WEB: settings.DB_WEB_PASSWORD, PROJECTOR: settings.DB_PROJECTOR_PASSWORD}
    for role, password in passwords.items():
        if not password:
            continue
        parameters = {"login": login_of(role, settings.DB_NAME), "password": password, "role": role}
        exists = (await connection.execute(_EXISTS, parameters)).scalar_one()
        statement = await connection.execute(_ALTER if exists else _CREATE, parameters)
        await connection.exec_driver_sql(statement.scalar_one())
