"""Cursors of lists: opaque, and of use only for the list that gave them. May import errors."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from uuid import UUID

from order_service.errors import InvalidRequest

Position = tuple[datetime, UUID]  # created_at and id of a page's last order
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES, _ID_BYTES, _SEAL_BYTES = 8, 16, 16
LENGTH_MAX = 100


class Cursors:
    """Seals positions with a key of their own, made from the secret key."""

    def __init__(self, secret_key: str) -> None:
        self._key = hmac.digest(secret_key.encode(), b"list cursors", "sha256")

    def encode(self, position: Position, filters: str) -> str:
        """`filters`: whatever the position must not be used without."""
        created_at, order_id = position
        micros = (created_at - _EPOCH) // _MICROSECOND
        plain = micros.to_bytes(_TIME_BYTES) + order_id.bytes
        return base64.urlsafe_b64encode(plain + self._seal(plain, filters)).decode().rstrip("=")

    def decode(self, cursor: str, filters: str) -> Position:
        """Raises InvalidRequest `invalid-cursor` for what this did not make for these filters."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
            if len(raw) != _TIME_BYTES + _ID_BYTES + _SEAL_BYTES:
                raise _invalid()
            micros, order_id = raw[:_TIME_BYTES], raw[_TIME_BYTES:-_SEAL_BYTES]
            position = _EPOCH + int.from_bytes(micros) * _MICROSECOND, UUID(bytes=order_id)
        except (ValueError, OverflowError):
            raise _invalid() from None
        # The text and not only its bytes: base64 has more than one text for them.
        if not hmac.compare_digest(self.encode(position, filters), cursor):
            raise _invalid()
        return position

    def _seal(self, plain: bytes, filters: str) -> bytes:
        mac = hmac.digest(self._key, plain + filters.encode(), hashlib.sha256)
        return mac[:_SEAL_BYTES]


def _invalid() -> InvalidRequest:
    return InvalidRequest(
        "invalid-cursor", "This cursor is not of this list: begin again without one."
    )
