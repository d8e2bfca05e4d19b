"""Contacts of orders: how one is found by its e-mail address or telephone number.

A contact's text is stored outside of events and read models. Beside it stand keyed digests of its
address and number, so that a search needs no clear text; they are erased with it. The key is
derived from SECRET_KEY: under another one, earlier contacts are no longer found.
"""

import hmac
import re
from hashlib import sha256

from order_service.accounts.users import email_key

DIGEST_KIND = "contact_digest"  # of a text: its body is a digest
_PURPOSE = b"order-service contact "
_NO_DIGITS = re.compile("[^0-9]")


def digests(secret_key: str, email: str | None, phone: str | None) -> tuple[str, ...]:
    """The digests of a contact, or of what a search looks for, in hexadecimal digits."""
    found = []
    if email:
        found.append(_digest(secret_key, "email", email_key(email)))
    if phone and (number := _phone_key(phone)):
        found.append(_digest(secret_key, "phone", number))
    return tuple(found)


def _digest(secret_key: str, kind: str, value: str) -> str:
    key = hmac.digest(secret_key.encode(), _PURPOSE + kind.encode(), sha256)
    return hmac.digest(key, value.encode(), sha256).hex()[:32]


def _phone_key(text: str) -> str:
    """The number's digits, `+` first for an international one, however it is written."""
    number = text.strip()
    international = number.startswith(("+", "00"))
    digits = _NO_DIGITS.sub("", number)
    return f"+{digits.removeprefix('00')}" if international else digits
