"""Refresh tokens: opaque, used once, rotated; the reuse of a token revokes its family.

A login starts a family of tokens. A refresh marks its token as used with a conditional UPDATE, so
one of many concurrent requests wins, and adds the next token in the same statement. The whole
family expires with the login: rotation never prolongs it.

A used token that comes again within 10 s is probably a second tab: it is refused, and nothing else
happens. Later it is probably a stolen copy: the whole family is revoked for thief and owner alike,
and the owner logs in again (RFC 9700, 4.14). A client that lost the response to a refresh also logs
in again: a second copy of the next token could go to a thief.

A token is valid in one copy of the database only. A restored backup does not know which tokens were
used or revoked since, and would accept them again; so in the restored copy all logins have ended.
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


# Also deletes expired tokens of the same user, so that the table holds only the logins of one token
# lifetime.
BEGIN_FAMILY = text("""
    WITH gone AS (
        DELETE FROM refresh_tokens
        WHERE user_id = :user_id AND expires_at < now() - interval '1 day'
    )
    INSERT INTO refresh_tokens (token_sha256, family, user_id, expires_at)
    VALUES (:digest, :family, :user_id, now() + make_interval(days => :days))
""")

# A family is valid while none of its tokens is revoked. The check covers the whole family: so a
# concurrent revocation, which cannot see the token that this rotation adds, ends that token too.
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
    """The tokens of one copy of the database (`postgres.Incarnation.copy`); logins last `days`."""

    def __init__(self, engine: AsyncEngine, copy: str, days: int) -> None:
        self._engine = engine
        self._copy = copy.encode()
        self._days = days

    async def begin_family(self, user_id: UUID) -> str:
        """Starts a family for a login; returns its first token."""
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
        """Marks `token` as used and returns the next one of its family. Raises RefreshRefused."""
        digest, following = self._digest(token), secrets.token_urlsafe(32)
        async with self._engine.begin() as connection:
            values = {"digest": digest, "next_digest": self._digest(following)}
            row = (await connection.execute(ROTATE, values)).one_or_none()
            if row is not None:
                return Rotated(row.id, row.role, following)
            refused = await _refuse(connection, digest)
        # Raised here: an exception inside the transaction would roll the revocation back.
        raise refused

    async def revoke(self, token: str) -> None:
        """Revokes every token of the family; ignores an unknown token."""
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
