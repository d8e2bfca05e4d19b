"""Makes and restores backups the way docs/operate.md describes."""

import os
import subprocess
from pathlib import Path

from order_service.settings import Settings
from order_service.stack.programs import POSTGRESQL, find
from order_service.stack.settings import as_exports
from tests.conftest import run_sql

# The statements of docs/operate.md before a restore into a server without the service's roles.
ROLES = (
    "CREATE ROLE order_web NOLOGIN",
    "CREATE ROLE order_projector NOLOGIN",
    "GRANT order_web, order_projector TO CURRENT_USER",
)


def dump(settings: Settings, file: Path) -> None:
    _run(settings, "pg_dump", "-Fc", "-f", str(file))


async def restore(settings: Settings, file: Path, *, beside: str) -> None:
    """Replaces the database of `settings` by the dump's contents. The restore goes into a database
    named `beside`, which takes the other's name once it is complete.
    """
    await run_sql(settings, f"CREATE DATABASE {beside}")
    _run(settings, "pg_restore", "--exit-on-error", f"--dbname={beside}", str(file))
    await run_sql(settings, f"DROP DATABASE {settings.DB_NAME} WITH (FORCE)")
    await run_sql(settings, f"ALTER DATABASE {beside} RENAME TO {settings.DB_NAME}")


def _run(settings: Settings, name: str, *words: str) -> None:
    found = find(POSTGRESQL, print)
    given = {key: str(value) for key, value in settings.model_dump().items()}
    exports = (line.removeprefix("export ") for line in as_exports(given).splitlines())
    tools = dict(line.split("=", 1) for line in exports if line.startswith("PG"))
    environment = {**os.environ, **found.env, **tools}
    subprocess.run([found.path(name), *words], env=environment, check=True, timeout=60)
