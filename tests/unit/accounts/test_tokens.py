"""Valid and invalid access tokens."""

import base64
import time
from typing import Any
from uuid import UUID

import pytest
from jose import jwt

from order_service.accounts.tokens import AccessTokens, TokenExpired, TokenInvalid
from order_service.limits import TOKEN_LENGTH_MAX
from order_service.settings import Settings

USER = UUID("6f0f4a6e-6b3c-4c3e-9d5e-2f6a1b3c4d5e")
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF"


@pytest.fixture
def tokens() -> AccessTokens:
    return AccessTokens(
        Settings(DB_PASSWORD="x", RABBITMQ_USER="x", RABBITMQ_PASSWORD="x", SECRET_KEY=SECRET)
    )


def forged(
    claims: dict[str, Any], *, without: str = "", secret: str = SECRET, **header: Any
) -> str:
    """A valid token with these changes."""
    now = int(time.time())
    ours = {
        "iss": "order-service",
        "aud": "order-service",
        "sub": str(USER),
        "role": "customer",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": "1",
    }
    merged = {name: value for name, value in {**ours, **claims}.items() if name != without}
    algorithm = header.pop("alg", "HS256")
    return str(jwt.encode(merged, secret, algorithm, headers={"typ": "at+jwt", **header}))


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_an_issued_token_contains_user_and_role(tokens: AccessTokens) -> None:
    verified = tokens.verify(tokens.issue(USER, "staff"))

    assert (verified.user_id, verified.role) == (USER, "staff")


def test_a_token_of_the_same_shape_passes(tokens: AccessTokens) -> None:
    """Otherwise the tests below would prove nothing."""
    assert tokens.verify(forged({})).user_id == USER


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "role"])
def test_every_claim_is_required(tokens: AccessTokens, claim: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged({}, without=claim))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "another"},
        {"aud": "another"},
        {"sub": "no-uuid"},
        {"sub": 7},
        {"role": "root"},
        {"role": ["admin"]},
        {"exp": "soon"},
        {"exp": 1e400},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_a_claim_of_another_value_is_invalid(tokens: AccessTokens, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged(claims))


def test_an_expired_token_differs_from_an_invalid_one(tokens: AccessTokens) -> None:
    with pytest.raises(TokenExpired):
        tokens.verify(forged({"exp": int(time.time()) - 60}))


@pytest.mark.parametrize(
    "header", [{"typ": "JWT"}, {"typ": None}, {"crit": ["b64"]}, {"alg": "HS384"}]
)
def test_another_kind_of_token_is_invalid(tokens: AccessTokens, header: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged({}, **header))


def test_a_token_signed_with_another_key_is_invalid(tokens: AccessTokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged({}, secret=SECRET[::-1]))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        segment(b"[" * 1000) + ".e30.e30",
        segment(b'{"alg":"none"}') + "." + segment(b'{"sub":"6f0f4a6e"}') + ".",
        "\ud800.e30.e30",
        segment(b'{"alg":["HS256"]}') + ".e30.e30",
        segment(b'{"alg":"HS"}') + ".e30.e30",
        segment(b"null") + ".e30.e30",
        "a" * TOKEN_LENGTH_MAX + ".e30.e30",
    ],
)
def test_a_malformed_token_is_invalid_and_raises_no_other_error(
    tokens: AccessTokens, token: str
) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(token)


def test_another_spelling_of_the_same_token_is_invalid(tokens: AccessTokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(forged({}) + "=")
