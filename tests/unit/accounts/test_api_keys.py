"""API keys: their form, their checksum, and what a stored one proves."""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import get_args
from uuid import UUID

import pytest

from order_service.accounts.api_keys import (
    SCOPES,
    Grant,
    Scope,
    check,
    digest_of,
    id_of,
    new_key,
    prefix_of,
)
from order_service.accounts.tokens import TokenExpired, TokenInvalid
from order_service.api.orders.permissions import COMMAND_SCOPES, STATUS_SCOPES
from order_service.domain.commands import (
    ChangeStatus,
    ExpireAuthorizations,
    ExpireOrder,
    OrderCommand,
    TargetStatus,
)

ID = UUID("0195f0a1-0000-7000-8000-000000000007")


@dataclass
class Row:
    """As `key_store.CREDENTIALS` finds it."""

    secret_sha256: bytes
    previous_sha256: bytes | None = None
    previous_in_s: float | None = None
    expires_in_s: float | None = None
    revoked: bool = False
    id: UUID = ID
    scopes: list[Scope] = field(default_factory=lambda: ["orders:read"])
    acts_for: UUID | None = None
    rate_limit: str | None = None


def test_a_key_has_a_form_that_scanners_find() -> None:
    key = new_key(ID)

    assert re.fullmatch("osk_[0-9a-f]{32}_[0-9A-Za-z]{49}", key)
    assert key.startswith("osk_0195f0a1000070008000000000000007_")
    assert prefix_of(ID) == key[:37]
    assert id_of(key) == ID
    assert new_key(ID) != key
    assert digest_of(key) == sha256(key.encode()).digest()


def test_the_checksum_is_the_crc_32_of_all_before_it() -> None:
    """A literal key: programs of others compute the checksum too."""
    key = "osk_0195f0a1000070008000000000000007_" + "0" * 42 + "1" + "0P2yVV"

    assert id_of(key) == ID


def test_each_typing_error_is_noticed() -> None:
    key = new_key(ID)
    mistyped = [key[:i] + chr(ord(key[i]) ^ 1) + key[i + 1 :] for i in range(len(key))]
    swapped = [
        key[:i] + key[i + 1] + key[i] + key[i + 2 :]
        for i in range(len(key) - 1)
        if key[i] != key[i + 1]
    ]
    wrong = [*mistyped, *swapped, key[:-1], key + "0", key.upper(), f" {key}", f"{key}\n", ""]

    assert [text for text in wrong if id_of(text) is not None] == []


def test_both_keys_of_a_rotation_hold_until_their_ends() -> None:
    now, before, other = b"n" * 32, b"b" * 32, b"o" * 32
    row = Row(now, before, previous_in_s=5.0)
    grant = Grant(ID, frozenset({"orders:read"}))

    assert check(row, now) == (grant, inf)
    assert check(row, before) == (grant, 5.0)
    assert check(Row(now, before, 5.0, expires_in_s=3.0), before) == (grant, 3.0)
    assert check(Row(now, expires_in_s=3.0), now) == (grant, 3.0)
    for wrong, digest in (
        (row, other),
        (None, now),
        (Row(now, revoked=True), now),
        (Row(now), b""),
    ):
        with pytest.raises(TokenInvalid) as refused:
            check(wrong, digest)
        assert refused.type is TokenInvalid
    for over, digest in ((Row(now, before, 0.0), before), (Row(now, expires_in_s=0.0), now)):
        with pytest.raises(TokenExpired):
            check(over, digest)


def test_each_command_of_a_client_has_a_scope() -> None:
    commands = {*get_args(OrderCommand)} - {ExpireAuthorizations, ExpireOrder, ChangeStatus}

    assert set(COMMAND_SCOPES) == commands
    assert {*COMMAND_SCOPES.values(), *STATUS_SCOPES.values()} <= {*SCOPES}
    assert set(STATUS_SCOPES) == {*get_args(TargetStatus)}
