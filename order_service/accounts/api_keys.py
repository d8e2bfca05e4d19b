"""API keys: random credentials of programs, their scopes, and the proof that one is genuine.

A key is `osk_<id>_<secret><checksum>`: the id in 32 hex digits, 32 random bytes and a CRC-32 of all
before it, both in base 62. The prefix lets secret scanners and people recognise a key; the checksum
tells a mistyped one without a query. Only the SHA-256 of the whole key is stored. Passwords need a
slow hash because they can be guessed; 256 random bits cannot, and a slow hash would cost 40 ms of
CPU where a key is looked up.
"""

import hmac
import re
import secrets
import zlib
from hashlib import sha256
from math import inf
from typing import Any, Literal, get_args
from uuid import UUID

from order_service.accounts.tokens import TokenExpired, TokenInvalid
from order_service.domain.immutable import immutable

Scope = Literal[
    "orders:read",
    "orders:write",
    "orders:price",
    "payments:write",
    "fulfillment:write",
    "returns:write",
    "reports:read",
    "events:read",
    "webhooks:manage",
    "ops",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "osk_"
_SECRET_BITS = 256
_SECRET_LENGTH = 43  # digits of base 62 for 256 bits
_CHECKSUM_LENGTH = 6  # for 32 bits
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(
    rf"(({PREFIX}([0-9a-f]{{32}})_)[0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)


@immutable
class Grant:
    """What a key may do. `acts_for`: for this user only; None: for any. `rate_limit`: its own,
    such as `1000/minute`; None: the setting's."""

    key_id: UUID
    scopes: frozenset[Scope]
    acts_for: UUID | None = None
    rate_limit: str | None = None


def new_key(key_id: UUID) -> str:
    body = f"{prefix_of(key_id)}{_base_62(secrets.randbits(_SECRET_BITS), _SECRET_LENGTH)}"
    return body + _checksum(body)


def prefix_of(key_id: UUID) -> str:
    """The public part of each key with this id."""
    return f"{PREFIX}{key_id.hex}_"


def id_of(key: str) -> UUID | None:
    """The id in a key; None if it is no key or a mistyped one."""
    match = _SHAPE.fullmatch(key)
    if match is None or match[4] != _checksum(match[1]):
        return None
    return UUID(match[3])


def digest_of(key: str) -> bytes:
    """What is stored of a key."""
    return sha256(key.encode()).digest()


def check(row: Any, digest: bytes) -> tuple[Grant, float]:
    """The grant of the key with this digest, and for how many seconds it holds (`inf`: for ever).

    `row`: of `key_store.CREDENTIALS`, or None. Raises TokenInvalid for an unknown, wrong or revoked
    key, TokenExpired for a genuine one whose time is over.
    """
    if row is None:
        raise TokenInvalid
    is_current = hmac.compare_digest(digest, row.secret_sha256)
    previous = row.previous_sha256
    is_previous = previous is not None and hmac.compare_digest(digest, previous)
    if row.revoked or not (is_current or is_previous):
        raise TokenInvalid
    seconds_left = inf if row.expires_in_s is None else float(row.expires_in_s)
    if not is_current:
        seconds_left = min(seconds_left, float(row.previous_in_s))
    if seconds_left <= 0:
        raise TokenExpired
    return grant_of(row), seconds_left


def grant_of(row: Any) -> Grant:
    return Grant(row.id, frozenset(row.scopes), row.acts_for, row.rate_limit)


def _checksum(text: str) -> str:
    return _base_62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)


def _base_62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    assert number == 0, "the number fits"
    return "".join(reversed(digits))
