"""Refresh tokens: opaque, single use, rotated; a stolen one kills its family.

A login begins a family. Each refresh uses up one token by a conditional UPDATE, so of many at once
one wins, and adds the next in the same statement. The expiry is the login's: rotation never
prolongs it. Who presents a used token is either a second tab (within 10 s: refused, nothing else
happens) or somebody holding a copy (later: the whole family is revoked, thief and owner alike, and
the owner logs in again; RFC 9700, 4.14). A client that lost the reply to a refresh logs in again
too: giving the successor out twice would give it to a thief as well.

A token is good in one copy of the database only. A backup that is restored knows nothing of the
tokens that were used up or revoked since, and would take them again; so there nobody is logged in.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.accounts.tokens import Role


class RefreshRefused(Exception):
    """`slug`: token-invalid, token-expired or refresh-superseded."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug)
        self.slug = slug


@dataclass(frozen=True)
class Rotated:
    user_id: UUID
    role: Role
    token: str


# Expired tokens of the same user go at the same time, so that the table holds no more than the
# logins of a lifetime.
BEGIN_FAMILY = text("""
    WITH gone AS (
        DELETE FROM refresh_tokens
        WHERE user_id = :user_id AND expires_at < now() - interval '1 day'
    )
    INSERT INTO refresh_tokens (token_sha256, family, user_id, expires_at)
    VALUES (:digest, :family, :user_id, now() + make_interval(days => :days))
""")

# A family is alive while none of its tokens is revoked: a look at the whole family, so that a
# revocation that runs at the same time as a rotation also ends the token which that rotation adds
# unseen.
ROTATE = text("""
    WITH used AS (
        UPDATE refresh_tokens t SET used_at = clock_timestamp()
        WHERE t.token_sha256 = :digest AND t.used_at IS NULL AND t.expires_at > now()
          AND NOT EXISTS (SELECT FROM refresh_tokens f
                          WHERE f.family = t.family AND f.revoked_at IS NOT NULL)
        RETURNING t.family, t.user_id, t.expires_at
    ), added AS (
        INSERT INTO refresh_tokens (token_sha256, family, user_id, expires_at)
        SELECT :next_digest, family, user_id, expires_at FROM used
    )
    SELECT u.id, u.role FROM used JOIN users u ON u.id = used.user_id
""")

INSPECT = text("""
    SELECT t.expires_at <= now() AS expired,
           t.used_at > clock_timestamp() - make_interval(secs => :grace_s) AS just_used,
           EXISTS (SELECT FROM refresh_tokens f
                   WHERE f.family = t.family AND f.revoked_at IS NOT NULL) AS revoked
    FROM refresh_tokens t WHERE t.token_sha256 = :digest
""")

REVOKE_FAMILY = text("""
    UPDATE refresh_tokens SET revoked_at = clock_timestamp()
    WHERE family = (SELECT family FROM refresh_tokens WHERE token_sha256 = :digest)
      AND revoked_at IS NULL
""")


class RefreshTokens:
    """Those of one copy of the database, as `db.Incarnation.copy` names it; a login is good for
    `days`."""

    def __init__(self, engine: AsyncEngine, copy: str, days: int) -> None:
        self._engine = engine
        self._copy = copy.encode()
        self._days = days

    async def begin_family(self, user_id: UUID) -> str:
        """A first refresh token for a login."""
        token = secrets.token_urlsafe(32)
        values = {
            "digest": self._digest(token),
            "family": uuid4(),
            "user_id": user_id,
            "days": self._days,
        }
        async with self._engine.begin() as connection:
            await connection.execute(BEGIN_FAMILY, values)
        return token

    async def rotate(self, token: str) -> Rotated:
        """The next token of the family; `token` is used up. Raises RefreshRefused."""
        digest, following = self._digest(token), secrets.token_urlsafe(32)
        async with self._engine.begin() as connection:
            values = {"digest": digest, "next_digest": self._digest(following)}
            row = (await connection.execute(ROTATE, values)).one_or_none()
            if row is not None:
                return Rotated(row.id, row.role, following)
            refused = await _refuse(connection, digest)
        # Raised only now: an exception inside would roll the revocation back.
        raise refused

    async def revoke(self, token: str) -> None:
        """No token of its family is good any more; an unknown token is nothing to worry about."""
        async with self._engine.begin() as connection:
            await connection.execute(REVOKE_FAMILY, {"digest": self._digest(token)})

    def _digest(self, token: str) -> bytes:
        return sha256(b"%b.%b" % (self._copy, token.encode())).digest()


async def _refuse(connection: AsyncConnection, digest: bytes) -> RefreshRefused:
    values: dict[str, Any] = {"digest": digest, "grace_s": limits.REFRESH_REUSE_GRACE_S}
    found = (await connection.execute(INSPECT, values)).one_or_none()
    if found is None or found.revoked:
        return RefreshRefused("token-invalid")
    if found.expired:
        return RefreshRefused("token-expired")
    if found.just_used:
        return RefreshRefused("refresh-superseded")
    await connection.execute(REVOKE_FAMILY, {"digest": digest})
    return RefreshRefused("token-invalid")
