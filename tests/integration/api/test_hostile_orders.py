"""Hostile input to the order commands: a 4xx problem document, and nothing is stored."""

import json
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import ORDER_BODY_BYTES_MAX
from tests.support.http.accounts import new_account
from tests.support.http.orders import place, stored_events

ITEM = {"sku": "A", "quantity": 1, "unit_price": 1}
ATTRIBUTE_NAMES = ["line_id", "model_config", "__class__", "__pydantic_extra__", "~/"]
TEXTS = ["", "a\0", "\x1b[31m", "\x7f", "x" * 256, None, 1, True, [], {}]
QUANTITIES = [None, True, 0, -1, 1.5, 1_000_001, 10**30, 10**4000, "", "+1", "1e3", "٣", "1_0", []]
PRICES = [
    *(True, -1, 10**16, 1e-9, 1e20, 10**4000, "", "-0", "+1", "1.", ".5", "1,5", "1e3", "٣", " 1"),
    *(
        "9" * 500,
        "0." + "0" * 30,
        "0.000000005",
        "9999999999999.99999999999999999999",
        "NaN",
        [],
        {},
    ),
]


def order(**fields: Any) -> bytes:
    return json.dumps({"items": [{**ITEM, **fields}]}).encode()


BODIES: list[bytes] = [
    *(order(**{name: value}) for name in ("sku", "colour") for value in TEXTS if value != ""),
    *(order(name=value) for value in TEXTS if value is not None),
    *(order(quantity=value) for value in QUANTITIES),
    *(order(unit_price=value) for value in PRICES),
    *(order(**{name: value}) for name in ATTRIBUTE_NAMES for value in (None, 1, {}, "a\0")),
    *(order(**{name: "v"}) for name in ("", "a\0", "\x1b", "x" * 256)),
    *(
        json.dumps({"items": [ITEM], name: value}).encode()
        for name, values in (
            ("total_price", [*PRICES, 2]),
            ("external_reference", [v for v in TEXTS if v is not None]),
            ("currency", ["", "usd", "XXX", "US\0", "U" * 10_000, 1, []]),
            ("items", [None, {}, "x", [], [None], [[]], [ITEM] * 201]),
            ("user_id", ["", "x", 1, {}, "urn:uuid:" + "0" * 32]),
            ("", ["x"]),
        )
        for value in values
    ),
    *(b"", b" ", b"null", b"1", b"[]", b'"x"', b"{", b'{"items": [}', b"\xff\xfe{}"),
    *(b"\xef\xbb\xbf", b"\xef\xbb\xbf{}"),
    *('{"items": []}'.encode("utf-16"), b"[" * 5_000, b'{"items":' * 300),
    *(b'{"a": 1e999999999}', b'{"a": 1e99999999999999999999}', b'{"a": ' + b"1" * 5_000 + b"}"),
    *(
        b'{"items": [{"quantity": 1, "price": 1, ' + rest + b"}]}"
        for rest in (
            b'"sku": "\\ud800"',
            b'"sku": "\xed\xa0\x80"',
            b'"sku": "a", "\\udfff": ""',
            b'"sku": "a", "sku": "b"',
            b'"sku": "a", "product_id": "b"',
            b'"sku": NaN',
        )
    ),
    b'{"items": [{"sku": "a", "quantity": 1, "price": -Infinity}]}',
    b'{"items": [{"sku": "a", "quantity": 1, "price": 1e-400}]}',
    b'{"items": [{"sku": "a", "quantity": 1, "price": 0e400}]}',
    json.dumps({"items": [{**ITEM, "quantity": 10**5, "unit_price": 10**13 - 1}] * 200}).encode(),
    json.dumps({"items": [{**ITEM, **{f"{n}": "漢" * 255 for n in range(20)}}] * 100}).encode(),
    json.dumps({"items": [ITEM], **{f"{n}": 1 for n in range(150_000)}}).encode(),
    json.dumps({"items": [ITEM], "user_id": "x" * ORDER_BODY_BYTES_MAX}).encode(),
]
CHANGES: list[dict[str, Any]] = [
    *({"status": value} for value in (None, 1, [], {}, "paid", "PAID\0", "", "X" * 10_000)),
    *({"status": "CANCELED", "reason": value} for value in ("", "other", 1, [])),
    *({"status": "CANCELED", "note": value} for value in ("", "\n", "a\0", "\x1b", 1, "x" * 2_001)),
    *({"status": "CANCELED", "tracking_number": v} for v in ("", " ", "a\0", 1, "x" * 256)),
    *({"status": "CANCELED", "expected_version": v} for v in (0, -1, 1.5, True, "1", 2**31)),
    *({"status": "CANCELED", name: "x"} for name in ("", "\0", "Status", "version", "user_id")),
]
HEADERS: list[tuple[str, bytes]] = [
    *(("Idempotency-Key", v) for v in (b"", b'""', b'"', b"a b", b'"\\""', b"\xff", b"x" * 256)),
    *(("If-Match", value) for value in (b"", b'"', b"1", b'"1" "2"', b'"1", *', b"'1'", b"\xff")),
    *(("Content-Type", v) for v in (b"", b"text/plain", b"application/json; charset=utf-16")),
    *(("Content-Encoding", value) for value in (b"gzip", b"\xff")),
    *(
        ("Authorization", value)
        for value in (b"", b"Bearer", b"Bearer \xff", b"Bearer " + b"x" * 9_000)
    ),
]
PATHS = [
    "%00",
    "%ff",
    "..%2f",
    "%0a",
    "a" * 5_000,
    "%D9%A3",
    "7",
    "{ID}%20",
    "{ID}%00",
    "urn:uuid:{ID}",
]


async def test_hostile_bodies_are_refused(web: httpx.AsyncClient, web_engine: AsyncEngine) -> None:
    owner = await new_account(web_engine)
    headers = {**owner.headers, "Content-Type": "application/json"}

    answers = [(b, await web.post("/orders/", content=b, headers=headers)) for b in BODIES]

    assert [(b[:200], a.text) for b, a in answers if a.status_code not in (400, 413, 422)] == []
    assert {a.headers["content-type"] for _, a in answers} == {"application/problem+json"}
    assert await stored_events(web_engine) == 0


async def test_hostile_changes_are_refused(web: httpx.AsyncClient, web_engine: AsyncEngine) -> None:
    owner = await new_account(web_engine)
    path = (await place(web, owner)).headers["location"]

    refused = [(b, await web.patch(path, json=b, headers=owner.headers)) for b in CHANGES]
    paths = [f"/orders/{name}/".replace("{ID}", path.split("/")[2]) for name in PATHS]
    cancel = {"json": {"status": "CANCELED"}, "headers": owner.headers}
    absent = [(path, await web.patch(path, **cancel)) for path in paths]

    assert [(body, a.text) for body, a in refused if a.status_code != 422] == []
    assert [(path, a.text) for path, a in absent if a.status_code != 404] == []
    assert await stored_events(web_engine) == 1


async def test_hostile_headers_are_refused(web: httpx.AsyncClient, web_engine: AsyncEngine) -> None:
    owner = await new_account(web_engine)
    path = (await place(web, owner)).headers["location"]
    sent = {"Content-Type": b"application/json", "Authorization": owner.headers["Authorization"]}

    answers = []
    for name, value in HEADERS:
        headers = httpx.Headers(list({**sent, name: value}.items()))
        refused = await web.patch(path, content=b'{"status": "CANCELED"}', headers=headers)
        answers.append((name, value[:50], refused))

    taken = [(n, v, a.text) for n, v, a in answers if a.status_code not in (400, 401, 415)]
    assert taken == []
    assert {a.headers["content-type"] for *_, a in answers} == {"application/problem+json"}
    assert await stored_events(web_engine) == 1


async def test_names_of_our_own_are_attributes_like_any_other(
    web: httpx.AsyncClient, web_engine: AsyncEngine
) -> None:
    owner = await new_account(web_engine)

    placed = await place(web, owner, items=[{**ITEM, **dict.fromkeys(ATTRIBUTE_NAMES, "v")}])

    assert placed.json()["items"][0]["attributes"] == dict.fromkeys(ATTRIBUTE_NAMES, "v")
