"""Ids, order numbers, the time and its text. Stdlib only."""

import hashlib
import os
import re
import time
from datetime import UTC, datetime
from uuid import UUID, SafeUUID

_NUMBER = re.compile(r"[Aa]-([1-9][0-9]{0,18})-([0-9])")
_POSITION_MAX = 2**63 - 1
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def now() -> datetime:
    """The present time, for the fields of commands: the domain has no clock."""
    return datetime.now(UTC)


def time_text(at: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds: one instant has one text."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"  # a third of strftime's time


_MASK = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_VERSIONS = {version: version << 76 | 0x2 << 62 for version in (4, 7, 8)}
_UNKNOWN = SafeUUID.unknown


def _with_version(value: int, version: int) -> UUID:
    """A UUID of `value` with the version and variant bits of RFC 9562.

    UUID's constructor checks for six forms of arguments, so it is bypassed: 0.4 us instead of 0.7.
    """
    uuid = UUID.__new__(UUID)
    object.__setattr__(uuid, "int", value & _MASK | _VERSIONS[version])
    object.__setattr__(uuid, "is_safe", _UNKNOWN)
    return uuid


def uuid4() -> UUID:
    """A random UUID."""
    return _with_version(int.from_bytes(os.urandom(16)), 4)


def uuid7() -> UUID:
    """A UUID ordered by time (milliseconds), so that new orders are adjacent in every index."""
    millis = time.time_ns() // 1_000_000
    return _with_version(millis << 80 | int.from_bytes(os.urandom(10)), 7)


def order_id_of_key(principal: UUID, key: str) -> UUID:
    """The id of the order that `principal` creates under `key`: the same for every repeat."""
    digest = hashlib.sha256(principal.bytes + key.encode()).digest()
    return _with_version(int.from_bytes(digest[:16]), 8)


def parse_uuid(text: str) -> UUID | None:
    """The UUID of its canonical text, in upper or lower case; None for every other text."""
    return UUID(text) if _CANONICAL_UUID.fullmatch(text.lower()) else None


def order_number(position: int, partition: int, partitions: int) -> str:
    """The order number for people: unique because positions are, with a check digit (Luhn)."""
    number = str(partitions * position + partition)
    return f"A-{number}-{_luhn(number)}"


def parse_order_number(text: str, partitions: int) -> tuple[int, int] | None:
    """Partition and position of the order's first event; None for a text that `order_number` never
    returns."""
    match = _NUMBER.fullmatch(text)
    if match is None or int(match[2]) != _luhn(match[1]):
        return None
    position, partition = divmod(int(match[1]), partitions)
    return (partition, position) if 1 <= position <= _POSITION_MAX else None


# For bytes.translate: each digit to the sum of the digits of its double, and to itself.
_DOUBLED = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
_SINGLE = bytes.maketrans(b"0123456789", bytes(range(10)))


def _luhn(digits: str) -> int:
    """The check digit of `digits`: every second digit, from the last one on, counts double."""
    from_last = digits[::-1].encode()
    doubled = sum(from_last[::2].translate(_DOUBLED))
    return -(doubled + sum(from_last[1::2].translate(_SINGLE))) % 10
