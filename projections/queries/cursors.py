"""Cursors of lists: opaque, and of use only for the list that gave them."""

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
    """Between two orders of a list: just after the one that sorts by `value`, then by its id; just
    before it where the page to come lies `backwards`. Times are in microseconds since 1970."""

    value: int
    order_id: UUID
    backwards: bool = False


class Cursors:
    """Seals places with a key of their own, made from the secret key."""

    def __init__(self, secret_key: str) -> None:
        self._key = hmac.digest(secret_key.encode(), b"list cursors", "sha256")

    def encode(self, place: Cursor, filters: str) -> str:
        """`filters`: whatever the place must not be used without."""
        value = place.value.to_bytes(_VALUE_BYTES, signed=True)
        plain = bytes([place.backwards]) + value + place.order_id.bytes
        return base64.urlsafe_b64encode(plain + self._seal(plain, filters)).decode().rstrip("=")

    def decode(self, cursor: str, filters: str) -> Cursor:
        """Raises InvalidRequest `invalid-cursor` for what this did not make for these filters."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except ValueError:
            raise _invalid() from None
        if len(raw) != _PLAIN_BYTES + _SEAL_BYTES:
            raise _invalid()
        value = int.from_bytes(raw[1 : 1 + _VALUE_BYTES], signed=True)
        place = Cursor(value, UUID(bytes=raw[1 + _VALUE_BYTES : _PLAIN_BYTES]), raw[0] == 1)
        # The text and not only its bytes: base64 has more than one text for them.
        if not hmac.compare_digest(self.encode(place, filters), cursor):
            raise _invalid()
        return place

    def _seal(self, plain: bytes, filters: str) -> bytes:
        mac = hmac.digest(self._key, plain + filters.encode(), hashlib.sha256)
        return mac[:_SEAL_BYTES]


def _invalid() -> InvalidRequest:
    return InvalidRequest(
        "invalid-cursor", "This cursor is not of this list: begin again without one."
    )
