"""create-user: creates an account of any role; needs the database's password.

Registration over HTTP creates customers only.
"""

import argparse
import getpass
import secrets
import sys

from order_service.accounts.users import User, create_user
from order_service.infra.postgres import WEB, create_engine
from order_service.settings import Settings

PASSWORD_BYTES = 18  # random bytes of a generated password


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("email")
    parser.add_argument("--role", choices=("customer", "staff", "admin"), default="customer")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password instead of generating one"
    )


async def run(arguments: argparse.Namespace, settings: Settings) -> int:
    generated = not arguments.password_stdin
    password = new_password() if generated else _read_password()
    await create(settings, arguments.email, password, arguments.role)
    print(f"{arguments.role} {arguments.email}" + (f" password {password}" if generated else ""))
    return 0


async def create(settings: Settings, email: str, password: str, role: str) -> User:
    """The stored account. Raises InvalidRequest, RuleViolation."""
    engine = create_engine(settings, WEB, application_name="create-user", pool_size=1)
    try:
        return await create_user(engine, email, password, role)
    finally:
        await engine.dispose()


def new_password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\n")
