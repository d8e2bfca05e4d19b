"""Cursors of lists: opaque texts, valid only for the list that issued them."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from order_service.errors import InvalidRequest

_VALUE_BYTES, _ID_BYTES, _SEAL_BYTES = 8, 16, 16
_PLAIN_BYTES = 1 + _VALUE_BYTES + _ID_BYTES
LENGTH_MAX = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: just after the order with this sort value and id, or just before it when
    paging `backwards`. Times are in microseconds since 1970."""

    value: int
    order_id: UUID
    backwards: bool = False


class Cursors:
    """Encodes and decodes the cursors of one list, sealed with a key made from the secret key."""

    def __init__(self, secret_key: str, filters: str) -> None:
        """`filters`: the list and its filters; a cursor of others is refused."""
        self._key = hmac.digest(secret_key.encode(), b"list cursors", "sha256")
        self._filters = filters.encode()

    def encode(self, cursor: Cursor) -> str:
        value = cursor.value.to_bytes(_VALUE_BYTES, signed=True)
        plain = bytes([cursor.backwards]) + value + cursor.order_id.bytes
        return base64.urlsafe_b64encode(plain + self._seal(plain)).decode().rstrip("=")

    def decode(self, text: str) -> Cursor:
        """Raises InvalidRequest `invalid-cursor` for text that `encode` did not make."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        except ValueError:
            raise _invalid() from None
        if len(raw) != _PLAIN_BYTES + _SEAL_BYTES:
            raise _invalid()
        value = int.from_bytes(raw[1 : 1 + _VALUE_BYTES], signed=True)
        cursor = Cursor(value, UUID(bytes=raw[1 + _VALUE_BYTES : _PLAIN_BYTES]), raw[0] == 1)
        # Compares texts, not bytes: base64 has several texts for the same bytes.
        if not hmac.compare_digest(self.encode(cursor), text):
            raise _invalid()
        return cursor

    def _seal(self, plain: bytes) -> bytes:
        mac = hmac.digest(self._key, plain + self._filters, hashlib.sha256)
        return mac[:_SEAL_BYTES]


def _invalid() -> InvalidRequest:
    return InvalidRequest(
        "invalid-cursor",
        "The cursor comes from another list or other filters: start again without one.",
    )
