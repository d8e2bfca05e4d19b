"""The table of API keys: create, list, change, rotate, revoke.

A revoked key keeps its row, so that the events of its orders still name it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.accounts.api_keys import SCOPES, Scope, digest_of, new_key
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from order_service.ids import now, uuid7
from order_service.infra.postgres import query


@dataclass(frozen=True)
class ApiKey:
    """`previous_until`: when the secret before the last rotation ends; `created_by`: the admin, or
    None for the command line."""

    id: UUID
    name: str
    scopes: tuple[Scope, ...]
    rate_limit: str | None
    acts_for: UUID | None
    created_at: datetime
    created_by: UUID | None
    expires_at: datetime | None
    last_used_at: datetime | None
    rotated_at: datetime | None
    previous_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class NewKey:
    """`acts_for`: for this user only; `rate_limit`: such as `1000/minute`."""

    name: str
    scopes: Iterable[Scope]
    rate_limit: str | None = None
    expires_at: datetime | None = None
    acts_for: UUID | None = None


_COLUMNS = (
    "id, name, scopes, rate_limit, acts_for, created_at, created_by, expires_at, last_used_at, "
    "rotated_at, previous_until, revoked_at"
)
# What `api_keys.check` needs. Times are compared by the database's clock alone. `unrecorded`: no
# use is recorded in the present minute.
CREDENTIALS = text("""
    SELECT id, scopes, rate_limit, acts_for, secret_sha256, previous_sha256,
           revoked_at IS NOT NULL AS revoked,
           extract(epoch FROM expires_at - clock_timestamp()) AS expires_in_s,
           extract(epoch FROM previous_until - clock_timestamp()) AS previous_in_s,
           coalesce(last_used_at < date_trunc('minute', clock_timestamp()), true) AS unrecorded
    FROM api_keys WHERE id = ANY (:ids)
""")
RECORD_USE = text("""
    UPDATE api_keys SET last_used_at = date_trunc('minute', clock_timestamp())
    WHERE id = ANY (:ids)
      AND coalesce(last_used_at < date_trunc('minute', clock_timestamp()), true)
""")
_CREATE = text(f"""
    INSERT INTO api_keys (id, name, scopes, rate_limit, acts_for, created_by, expires_at,
                          secret_sha256)
    SELECT :id, :name, CAST(:scopes AS text[]), :rate_limit, CAST(:acts_for AS uuid),
           CAST(:created_by AS uuid), :expires_at, :digest
    WHERE (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL) < :most
    RETURNING {_COLUMNS}
""")  # noqa: S608
_LIST = text(f"SELECT {_COLUMNS} FROM api_keys WHERE revoked_at IS NULL ORDER BY id DESC")  # noqa: S608
_FIND = text(f"SELECT {_COLUMNS} FROM api_keys WHERE id = :id")  # noqa: S608
_LOCK = text(f"SELECT {_COLUMNS} FROM api_keys WHERE id = :id AND revoked_at IS NULL FOR UPDATE")  # noqa: S608
_CHANGE = text(f"""
    UPDATE api_keys SET name = :name, scopes = CAST(:scopes AS text[]), rate_limit = :rate_limit,
                        expires_at = :expires_at
    WHERE id = :id RETURNING {_COLUMNS}
""")  # noqa: S608
_ROTATE = text(f"""
    UPDATE api_keys SET previous_sha256 = secret_sha256,
                        previous_until = now() + :overlap,
                        secret_sha256 = :digest, rotated_at = now()
    WHERE id = :id AND revoked_at IS NULL RETURNING {_COLUMNS}
""")  # noqa: S608
_REVOKE = text(f"""
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
    WHERE id = :id RETURNING {_COLUMNS}
""")  # noqa: S608
_USER = text("SELECT id FROM users WHERE id = :id")


async def create(
    engine: AsyncEngine, wanted: NewKey, created_by: UUID | None
) -> tuple[ApiKey, str]:
    """The stored key, and its secret text, which cannot be read again. Raises InvalidRequest,
    RuleViolation `too-many-api-keys`."""
    if wanted.expires_at is not None and wanted.expires_at <= now():
        raise _wrong("expires_at", "This time is over")
    key_id = uuid7()
    key = new_key(key_id)
    values = {
        "id": key_id,
        "name": wanted.name,
        "scopes": _in_order(wanted.scopes),
        "rate_limit": wanted.rate_limit,
        "acts_for": wanted.acts_for,
        "created_by": created_by,
        "expires_at": wanted.expires_at,
        "digest": digest_of(key),
        "most": limits.API_KEYS_MAX,
    }
    async with engine.begin() as connection:
        if wanted.acts_for is not None:
            found = await connection.execute(_USER, {"id": wanted.acts_for})
            if found.one_or_none() is None:
                raise _wrong("acts_for", "There is no such user")
        row = (await connection.execute(_CREATE, values)).one_or_none()
    if row is None:
        detail = f"There are {limits.API_KEYS_MAX} API keys: revoke one that is not in use."
        raise RuleViolation("too-many-api-keys", detail)
    return _api_key(row), key


async def list_all(engine: AsyncEngine) -> list[ApiKey]:
    """Keys that are not revoked, the newest first; expired ones too."""

    async def read(connection: AsyncConnection) -> Sequence[Row[Any]]:
        return (await connection.execute(_LIST)).all()

    return [_api_key(row) for row in await query(engine, read)]


async def find(engine: AsyncEngine, key_id: UUID) -> ApiKey:
    """The key, revoked or not. Raises NotFound."""

    async def read(connection: AsyncConnection) -> Row[Any] | None:
        return (await connection.execute(_FIND, {"id": key_id})).one_or_none()

    return _found(await query(engine, read))


async def change(engine: AsyncEngine, key_id: UUID, changes: Mapping[str, Any]) -> ApiKey:
    """The key with other values of `name`, `scopes`, `rate_limit`, `expires_at`. Scopes are only
    taken away, and the end only comes nearer: more rights need a new key. Raises NotFound,
    InvalidRequest."""
    async with engine.begin() as connection:
        before = _found((await connection.execute(_LOCK, {"id": key_id})).one_or_none())
        values = {
            "id": key_id,
            "name": changes.get("name", before.name),
            "scopes": _in_order(changes.get("scopes", before.scopes)),
            "rate_limit": changes.get("rate_limit", before.rate_limit),
            "expires_at": changes.get("expires_at", before.expires_at),
        }
        if not set(values["scopes"]) <= set(before.scopes):
            raise _wrong("scopes", "Scopes can only be taken away: create a new key")
        if before.expires_at is not None and (
            values["expires_at"] is None or values["expires_at"] > before.expires_at
        ):
            raise _wrong("expires_at", "The end can only come nearer: create a new key")
        return _api_key((await connection.execute(_CHANGE, values)).one())


async def rotate(engine: AsyncEngine, key_id: UUID, overlap: timedelta) -> tuple[ApiKey, str]:
    """The key with a new secret; the one before it holds for `overlap`, an earlier one no more.
    Raises NotFound."""
    key = new_key(key_id)
    values = {"id": key_id, "overlap": overlap, "digest": digest_of(key)}
    async with engine.begin() as connection:
        return _api_key(_found_row((await connection.execute(_ROTATE, values)).one_or_none())), key


async def revoke(engine: AsyncEngine, key_id: UUID) -> ApiKey:
    """The key, revoked now or before. Raises NotFound."""
    async with engine.begin() as connection:
        return _found((await connection.execute(_REVOKE, {"id": key_id})).one_or_none())


def _found(row: Row[Any] | None) -> ApiKey:
    return _api_key(_found_row(row))


def _found_row(row: Row[Any] | None) -> Row[Any]:
    if row is None:
        raise NotFound("not-found", "There is no such API key, or it is revoked.")
    return row


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(**{**row._mapping, "scopes": tuple(_in_order(row.scopes))})


def _in_order(scopes: Iterable[Scope]) -> list[Scope]:
    return sorted(set(scopes), key=SCOPES.index)


def _wrong(member: str, detail: str) -> InvalidRequest:
    error = {"detail": detail, "pointer": f"#/{member}", "code": "refused"}
    return InvalidRequest("validation", "Wrong fields: 1; see errors.", errors=[error])
