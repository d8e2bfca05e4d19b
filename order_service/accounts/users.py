"""Users and their roles."""

import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.accounts import passwords
from order_service.accounts.tables import users
from order_service.accounts.tokens import ROLES, Role
from order_service.errors import InvalidRequest, RuleViolation


@dataclass(frozen=True)
class User:
    id: UUID
    email: str
    password_hash: str
    role: Role
    created_at: datetime


_COLUMNS = (users.c.id, users.c.email, users.c.password_hash, users.c.role, users.c.created_at)


def check_email(text: str) -> str:
    """The address with its domain normalised. Raises InvalidRequest `invalid-email`."""
    try:
        if len(text) > limits.EMAIL_LENGTH_MAX:
            raise EmailNotValidError(f"it is longer than {limits.EMAIL_LENGTH_MAX} characters")
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise InvalidRequest("invalid-email", "This is not an e-mail address.") from error


def email_key(text: str) -> str:
    """The key of an address: equal for two spellings of one account. Any text has a key, so a login
    never fails here."""
    with suppress(InvalidRequest):
        text = check_email(text)
    return unicodedata.normalize("NFKC", text).casefold()


def is_same_address(one: str, other: str) -> bool:
    """Whether these are spellings of one address: in upper or lower case, in either Unicode form.
    Narrower than equal keys, by which an address that may be confused with another (`gross@` with
    `gro\u00df@`) cannot be registered beside it."""
    return _spelling(one) == _spelling(other)


def _spelling(text: str) -> str:
    with suppress(InvalidRequest):
        text = check_email(text)
    return unicodedata.normalize("NFC", text).lower()


async def add(engine: AsyncEngine, email: str, password_hash: str, role: Role) -> User:
    """Stores the new user and returns it. Raises RuleViolation `email-taken`; of concurrent calls
    with one address, one succeeds."""
    statement = (
        insert(users)
        .values(
            id=uuid4(),
            email=email,
            email_key=email_key(email),
            password_hash=password_hash,
            role=role,
        )
        .on_conflict_do_nothing(index_elements=[users.c.email_key])
        .returning(*_COLUMNS)
    )
    async with engine.begin() as connection:
        row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise RuleViolation("email-taken", "There is already an account with this e-mail address.")
    return _user(row)


async def find_by_email(engine: AsyncEngine, email: str) -> User | None:
    return await _find(engine, users.c.email_key == email_key(email))


async def find(engine: AsyncEngine, user_id: UUID) -> User | None:
    return await _find(engine, users.c.id == user_id)


async def replace_hash(engine: AsyncEngine, user: User, password_hash: str) -> None:
    """Stores the new hash of the password, unless the password has changed in the meantime."""
    unchanged = (users.c.id == user.id) & (users.c.password_hash == user.password_hash)
    async with engine.begin() as connection:
        await connection.execute(update(users).where(unchanged).values(password_hash=password_hash))


async def create_user(engine: AsyncEngine, email: str, password: str, role: str) -> User:
    """Checks and stores a user of any role: for the command line. Raises InvalidRequest,
    RuleViolation."""
    if role not in ROLES:
        raise InvalidRequest("invalid-role", f"Unknown role {role}: expected {', '.join(ROLES)}.")
    passwords.check_new(password)
    return await add(engine, check_email(email), passwords.hash_now(password), role)


async def _find(engine: AsyncEngine, condition: Any) -> User | None:
    async with engine.connect() as connection:
        row = (await connection.execute(select(*_COLUMNS).where(condition))).one_or_none()
    return None if row is None else _user(row)


def _user(row: Any) -> User:
    return User(**row._mapping)
