"""Access tokens that are none of ours, and other ways to say who one is."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from jose import jwt

from order_service.accounts.api_keys import new_key
from tests.support.hostile.case import CANARY, OWNER, Case, Text, asked

_NO_UTF8 = b"\xff\xfe"
HEADER = {"alg": "HS256", "typ": "at+jwt"}


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    ours = {"iss": "order-service", "aud": "order-service", "sub": str(uuid4()), "jti": "1"}
    times = {"iat": now, "nbf": now, "exp": now + 60}
    found = {**ours, **times, "role": "customer", **changed}
    return {name: value for name, value in found.items() if value is not None}


def signed(secret: str, header: Mapping[str, Any] = HEADER, **changed: Any) -> str:
    """A token like ours but for what is given; a claim of None is left out."""
    algorithm = str(header.get("alg", "HS256"))
    return str(jwt.encode(claims(**changed), secret, algorithm, headers=dict(header)))


def segment(content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsigned(header: Any, signature: str = "") -> str:
    return f"{segment(header)}.{segment(claims())}.{signature}"


def token_cases(secret: str) -> list[Case]:
    now = int(time.time())
    tokens = {
        "of another key": signed(secret[::-1]),
        "of another algorithm": signed(secret, {**HEADER, "alg": "HS512"}),
        "of another type": signed(secret, {**HEADER, "typ": "JWT"}),
        "with a demand": signed(secret, {**HEADER, "crit": ["b64"], "b64": False}),
        "that is over": signed(secret, exp=now - 60),
        "that is over for long": signed(secret, exp=-1),
        "that has not begun": signed(secret, nbf=now + 3_600),
        "of another issuer": signed(secret, iss="other"),
        "for others": signed(secret, aud="other"),
        "for nobody": signed(secret, sub=None),
        "for what is no id": signed(secret, sub=CANARY),
        "for a statement": signed(secret, sub="' OR 1=1 --"),
        "for a number": signed(secret, sub=7),
        "of no role": signed(secret, role=None),
        "of a strange role": signed(secret, role="root"),
        "of many roles": signed(secret, role=["admin", "customer"]),
        "without an end": signed(secret, exp=None),
        "that ends in a word": signed(secret, exp="tomorrow"),
        "that ends too late for numbers": signed(secret, exp=1e308),
        "without a name": signed(secret, jti=None),
        "unsigned": _unsigned({"alg": "none", "typ": "at+jwt"}),
        "unsigned, in capitals": _unsigned({"alg": "NONE", "typ": "at+jwt"}, "AA"),
        "of an algorithm by part of its name": _unsigned({"alg": "HS", "typ": "at+jwt"}, "AA"),
        "of many algorithms": _unsigned({"alg": ["HS256"], "typ": "at+jwt"}, "AA"),
        "of a key that it brings": _unsigned({**HEADER, "jwk": {"kty": "oct", "k": "AA"}}, "AA"),
        "of a key elsewhere": _unsigned({**HEADER, "jku": "http://192.0.2.1/keys"}, "AA"),
        "of a key in a file": _unsigned({**HEADER, "kid": "../../../dev/null"}, "AA"),
        "whose header is a list": _unsigned([]),
        "whose header is nothing": _unsigned(None, "AA"),
        "whose header is deep": _unsigned(b"[" * 1_000, "AA"),
        "whose claims are deep": f"{segment(HEADER)}.{segment(b'{' * 1_000)}.AA",
        "whose claims are a list": f"{segment(HEADER)}.{segment([])}.AA",
        "whose claims are no UTF-8": f"{segment(HEADER)}.{segment(_NO_UTF8)}.AA",
        "of one part": "abc",
        "of two parts": "abc.def",
        "of four parts": "a.b.c.d",
        "of five parts": f"{segment({'alg': 'dir', 'enc': 'A256GCM'})}....",
        "of empty parts": "..",
        "that is long": "a" * 3_000 + ".b.c",
        "padded": "{OWNER}=",
        "with something behind": "{OWNER} {OWNER}",
        "with a comma": "{OWNER},",
        "in quotes": '"{OWNER}"',
    }
    schemes: dict[str, Text] = {
        "nothing": "",
        "a scheme alone": "Bearer",
        "a token alone": "{OWNER}",
        "another scheme": "Basic {OWNER}",
        "a name and a password": "Basic YWRtaW46YWRtaW4=",
        "an unknown scheme": "Bearest {OWNER}",
        "Latin-1": b"Bearer \xe9\xff",
        "UTF-8": "Bearer ٣",
        "a tab": "Bearer\t{OWNER}",
    }
    cases = [Case(f"a token {k}", _me(f"Bearer {v}"), 401) for k, v in tokens.items()]
    cases += [Case(f"Authorization: {k}", _me(v), 401) for k, v in schemes.items()]
    keys = {
        "of another secret": new_key(uuid4()),
        "with another end": "{KEY}0",
        "twice": "{KEY}{KEY}",
        "in two parts": "{KEY} {KEY}",
        "of no secret": "osk_" + "0" * 32 + "_",
        "of a statement": "osk_' OR 1=1 --",
        "of dots": "osk_" + "." * 82,
        "that is long": "osk_" + "0" * 9_000,
        "in other digits": "osk_" + "\u0661" * 32 + "_" + "0" * 49,
        "whose prefix is in capitals": "OSK_" + "0" * 32 + "_" + "0" * 49,
    }
    cases += [Case(f"an API key {k}", _me(f"Bearer {v}"), 401) for k, v in keys.items()]
    ours = "{OWNER}"
    return [
        *cases,
        Case("a token in the address", asked("GET", f"/users/me/?access_token={ours}"), 401),
        Case("an API key for people", _me("Bearer {KEY}"), 403),
        Case("an API key in the address", asked("GET", "/orders/?api_key={KEY}"), 401),
        Case("an API key in a header of its own",
             asked("GET", "/orders/", ("X-Api-Key", "{KEY}")), 401),
        Case("a token in a cookie", asked("GET", "/users/me/", ("Cookie", f"token={ours}")), 401),
        Case("somebody else's address", asked("GET", "/users/me/", OWNER,
             ("X-Forwarded-For", "127.0.0.1"), ("X-User-Id", CANARY)), 200),
        Case("two tokens", asked("GET", "/users/me/", ("Authorization", "Bearer x"), OWNER), 401),
    ]  # fmt: skip


def _me(authorization: Text) -> bytes:
    return asked("GET", "/users/me/", ("Authorization", authorization))
