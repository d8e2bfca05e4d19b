# ruff: noqa: E501  # rows of data
"""What accounts and commands are asked with: bodies, media types, keys, conditions."""

import json
from typing import Any

from tests.support.hostile.case import ADMIN, CANARY, FORM, JSON, OWNER, Case, Text, asked, posts

_PASSWORD = "correct horse battery staple"
_GOOD = {"email": "good@example.com", "password": _PASSWORD}

_EMAILS: list[Any] = [
    *("", " ", "a", "@", "a@", "@b", "a@b@c.example", "a b@c.example", "a@b..example", "a@.example"),
    *("a\0@b.example", "a\r\nBcc: x@y.example", "a@b.example\n", "\u202ea@b.example", "a@[::1]"),
    *("a" * 250 + "@b.example", "a@" + "b" * 300 + ".example", None, True, 1, 1.5, [], {}, ["a@b.c"]),
]  # fmt: skip
_PASSWORDS: list[Any] = [
    *(
        "",
        "short",
        "password",
        "12345678",
        "x" * 1_025,
        "漢" * 342,
        "a\0bcdefgh",
        "\x1b[31mabcdefg",
    ),
    *(None, True, 12345678, [], {}),
]
_NOT_JSON = [
    *(b"", b" ", b"\0", b"{", b"[", b"nul", b"{]", b"{'email': 1}", b"{\"email\": }", b"{,}", b"\xff"),
    *(b"\xff\xfe{\0}\0", b"\xef\xbb\xbf", b"{}{}", b"{} x", b"<a/>", b"email=a", b"[" * 200_000),
    *(b'{"a":' * 30_000, b'"\\ud83d"x', b'{"email": NaN}', b'{"email": Infinity}', b'{"email": 01}'),
    *(b'{"email": +1}', b'{"email": 1.}', b'{"email": .5}', b'{"email": 0x1}', b"//\n{}", b"{}/**/"),
    *(b'{"email": "\t"}', b'{"email": "\x00"}', b'{"email": "a\nb"}', b'{"email": "\xc0\x80"}'),
    *(b'{"email": "\xed\xa0\x80"}', b'{"email": "\xf4\x90\x80\x80"}', b'{"email": "\\x41"}'),
]  # fmt: skip
_NO_OBJECT: list[Any] = [None, True, 1, 1.5, "x", [], [_GOOD], {}, {"email": {"$ne": None}}]
_REGISTER = [
    *posts(422, "/register/", *({**_GOOD, "email": email} for email in _EMAILS)),
    *posts(422, "/register/", *({**_GOOD, "password": password} for password in _PASSWORDS)),
    *posts(422, "/register/", *_NO_OBJECT, b'{"email": 1e400}'),
    *posts(422, "/register/", *({**_GOOD, name: CANARY} for name in ("role", "id", "is_admin"))),
    *posts(422, "/register/", *({**_GOOD, name: 1} for name in ("", "\0", "__class__", "x" * 9_000))),
    *posts(422, "/register/", b'{"email": "a@b.example", "email": "b@b.example", "password": "x"}'),
    *posts(400, "/register/", *_NOT_JSON, b'{"email": ' + b"9" * 9_000 + b"}"),
]  # fmt: skip

_LOGIN = {"username": "good@example.com", "password": CANARY}
_TOKENS = [
    *posts(401, "/token/", _LOGIN, {**_LOGIN, "username": "' OR 1=1 --"}),
    *posts(422, "/token/", {**_LOGIN, "password": "\x01" + CANARY, "username": "a@b.example"}),
    *posts(422, "/token/", {**_LOGIN, "username": "a\0b"}, {**_LOGIN, "password": "x" * 1_025}),
    *posts(422, "/token/", *({**_LOGIN, "username": v} for v in (None, 1, [], {}, "x" * 255))),
    *posts(422, "/token/", *({**_LOGIN, "password": v} for v in (None, 1, [], {}, True))),
    *posts(422, "/token/", {}, [], None, {"grant_type": 1}, {"grant_type": "refresh_token"}),
    *posts(400, "/token/", {"grant_type": "client_credentials"}, {"grant_type": CANARY}, b"{", b""),
    *posts(401, "/token/", {"grant_type": "refresh_token", "refresh_token": CANARY}),
    *posts(400, "/token/", b"%", b"a", b"username=a&username=b", b"&" * 20, b"\xff=\xff",
           b"&".join(b"a%d=1" % n for n in range(99)), b"username=%ff", content=FORM),
    *posts(422, "/token/", b"=", b"username=a", b"username=%00&password=x", b"username=a&password=",
           b"username=&password=", content=FORM),
    *posts(401, "/token/refresh/", *({"refresh_token": t} for t in (CANARY, "{OWNER}", "A" * 43))),
    *posts(422, "/token/refresh/", {"refresh_token": "\x01"}),
    *posts(422, "/token/refresh/", {}, [], *({"refresh_token": t} for t in ("", None, 1, [], "x" * 1_025))),
    *posts(200, "/token/revoke/", *({"token": t} for t in (CANARY, "{OWNER}", "A" * 43))),
    *posts(422, "/token/revoke/", {"token": "\x01"}),
    *posts(422, "/token/revoke/", {}, [], *({"token": t} for t in (None, 1, [], "x" * 1_025))),
]  # fmt: skip

_ORDER = b'{"items": [{"sku": "A", "quantity": 1, "unit_price": 1}]}'
_CANCELED = b'{"status": "CANCELED"}'


def _media(status: int, *types: tuple[str, Text]) -> list[Case]:
    return [
        Case(f"{name}: {value!r}", asked("POST", "/register/", (name, value), body=b"{}"), status)
        for name, value in types
    ]


_MEDIA = [
    *_media(415, *(("Content-Type", t) for t in ("", "json", "text/json", "application/json,")),
            ("Content-Type", "application/json;charset=utf-16"), ("Content-Type", b"\xff/\xff"),
            ("Content-Type", "multipart/form-data; boundary=" + "x" * 9_000), FORM,
            ("Content-Type", "application/x-python-serialize"), ("Content-Type", "application/xml")),
    *(Case(f"Content-Encoding: {e!r}", asked("POST", "/register/", JSON, ("Content-Encoding", e),
           body=b"\x1f\x8b\x08\x00"), 415) for e in ("gzip", "br", "zstd", "identity, gzip", "x", "")),
]  # fmt: skip


def _commands(status: int, name: str, *values: Text, method: str = "PATCH") -> list[Case]:
    path, body = ("/orders/{ORDER}/", _CANCELED) if method == "PATCH" else ("/orders/", _ORDER)
    return [
        Case(
            f"{method} {name}: {value[:40]!r}",
            asked(method, path, OWNER, JSON, (name, value), body=body),
            status,
        )
        for value in values
    ]


_STRANGE_KEYS: tuple[Text, ...] = (
    *("", '""', '"', "a b", '"a" "b"', "x" * 256, '"' + "x" * 256 + '"', '"\\"', "a\\b"),
    *("٣", b"\xff", b"\xc3\xa9", '"a', 'a"', "a\tb"),
)
_STRANGE_TAGS: tuple[Text, ...] = (
    *("", '"', "1", "'1'", "W/", "W/1", 'w/"1"', '"1" "2"', '*, "1"', '"1", *', "**", '"1"x'),
    *('"a b"', '"1', "," * 500, b"\xff"),
)
_KEYS = [
    *_commands(400, "Idempotency-Key", *_STRANGE_KEYS),
    *_commands(400, "Idempotency-Key", *_STRANGE_KEYS, method="POST"),
    *_commands(400, "If-Match", *_STRANGE_TAGS),
    *_commands(412, "If-Match", '"0"', '"2"', 'W/"1"', '"01"', '""', '"-1"', '"1.0"', '"*"', b'"\xff"',
               '"' + "9" * 9_000 + '"', ", ".join(['"7"'] * 999)),
    Case("two keys", asked("PATCH", "/orders/{ORDER}/", OWNER, JSON, ("Idempotency-Key", "a"),
         ("Idempotency-Key", "b"), body=_CANCELED), 400),
    Case("a dry run of sorts", asked("PATCH", "/orders/{ORDER}/?dry_run=1", OWNER, JSON, body=_CANCELED),
         422),
    Case("two dry runs", asked("PATCH", "/orders/{ORDER}/?dry_run=true&dry_run=true", OWNER, JSON,
         body=_CANCELED), 422),
]  # fmt: skip


def _api_keys(
    status: int, *bodies: Any, method: str = "POST", path: str = "/api-keys/"
) -> list[Case]:
    return [
        Case(
            f"{method} {path} {str(body)[:60]!r}",
            asked(
                method,
                path,
                ADMIN,
                JSON,
                body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            ),
            status,
        )
        for body in bodies
    ]


_GOOD_KEY = {"name": "shop", "scopes": ["orders:read"]}
_NO_KEY = "/api-keys/0195f0a1-0000-7000-8000-000000000001/"
_API_KEYS = [
    *_api_keys(422, *({**_GOOD_KEY, "name": n} for n in ("", " ", "a\0b", "a\nb", "x" * 101, None, 1, [], {}))),
    *_api_keys(422, *({**_GOOD_KEY, "scopes": s} for s in ([], [CANARY], ["admin"], ["orders:read"] * 11, None,
               "orders:read", {}, [None], [1], ["orders:*"], ["ORDERS:READ"], ["orders:read "]))),
    *_api_keys(422, *({**_GOOD_KEY, "rate_limit": r} for r in ("", "1", "0/minute", "-1/minute", "1e3/minute",
               "1/fortnight", "1/minute\n", "9999999999/day", "1 per minute", 1, [], {}, "\u0661/minute", CANARY))),
    *_api_keys(422, *({**_GOOD_KEY, "expires_at": t} for t in ("", "tomorrow", "2020-01-01T00:00:00Z",
               "2027-01-01T00:00:00", "9999-12-31T23:59:59Z", 1, [], CANARY))),
    *_api_keys(422, *({**_GOOD_KEY, "acts_for": u} for u in ("", CANARY, 1, [], "{ORDER}", "0" * 32))),
    *_api_keys(422, *({**_GOOD_KEY, n: 1} for n in ("id", "key", "secret_sha256", "created_by", "revoked_at"))),
    *_api_keys(400, b"{", b"", b"\xff"),
    *_api_keys(422, {"name": None}, {"scopes": []}, {"acts_for": None}, [], None, method="PATCH", path=_NO_KEY),
    *_api_keys(422, *({"overlap": o} for o in ("", "P", "PT", "P8D", "-PT1S", "PT-1S", "1 day", "P1Y", 1, None, [],
               "PT" + "9" * 400 + "S", CANARY)), path=f"{_NO_KEY}rotate/"),
    *_api_keys(404, {}, {"overlap": "PT1H"}, path=f"{_NO_KEY}rotate/"),
    *_api_keys(404, {"name": "x"}, method="PATCH", path=_NO_KEY),
    *_api_keys(404, *({"name": "x"} for _ in range(1)), method="PATCH", path=f"/api-keys/{CANARY}/"),
    *(Case(f"DELETE {i!r}", asked("DELETE", f"/api-keys/{i}/", ADMIN), 404)
      for i in ("0", "-1", "%00", "..%2f", CANARY, "'--", "0195f0a1-0000-7000-8000-00000000000")),
]  # fmt: skip

WRITES: list[Case] = [*_REGISTER, *_TOKENS, *_MEDIA, *_KEYS, *_API_KEYS]
