"""The parsers of what strangers send, fuzzed: a value, or the one error that says it is none.

What is tried is nearly right, mostly: something valid, edited here and there; ten times as much of
it in `fuzz`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from order_service.accounts.tokens import AccessTokens, TokenInvalid
from order_service.api.accounts import parse_form
from order_service.api.orders.command_context import fingerprint, key_of, tags_of
from order_service.api.orders.fields import line_id_of, part_id
from order_service.documents import consistency_token
from order_service.errors import InvalidRequest, NotFound, OrderServiceError
from order_service.ids import order_number, parse_order_number, parse_uuid
from order_service.log.reading import VERSION_MAX
from order_service.main import create_app
from order_service.settings import Settings
from order_service.telemetry.tracing import traceparent_of
from order_service.web.json_body import JsonBody, body_of, parse_json
from order_service.web.problems.problem import Problem
from projections.queries.cursors import Cursor, Cursors
from projections.queries.filters import ExportParameters, StaffListParameters, conditions
from projections.routes.streams import parse_positions, parse_version
from tests.support.hostile.tokens import HEADER, claims, segment, signed
from tests.support.http.conformance import known_contract
from tests.support.log.examples import NEW_ID

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
PARTITIONS = 4
STRANGE = "\0\t\n\r\x1b \"',;:=.-_/\\%*+{}[]<>0123456789AaZz٣\uff21\x80\xff\u2028\ufeff\U0001f4a9"
_HEADER = st.text(st.characters(codec="latin-1"), max_size=200)
fuzzed = settings(
    max_examples=400 if settings.get_current_profile_name() == "fuzz" else 40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def near(draw: st.DrawFn, *valid: str) -> str:
    """One of these texts with a few edits."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
        new = draw(st.text(st.sampled_from(STRANGE), max_size=3) | st.just(text[at : at + 40] * 9))
        text = text[:at] + new + text[at + length :]
    return text


def value_or(error: type[Exception] | tuple[type[Exception], ...], parse: Callable[[], Any]) -> Any:
    """What is parsed; None for the error, which is the client's."""
    try:
        return parse()
    except error as found:
        if isinstance(found, Problem) and found.status >= 500:
            raise
        return None


# --- headers --------------------------------------------------------------------------------------


@fuzzed
@given(near("8e03978e-40d5-43e8-bc93-6894a57f9324", '"a key"', "a/0") | _HEADER)
def test_idempotency_keys(field: str) -> None:
    key = value_or(Problem, lambda: key_of(field))

    assert key is None or (1 <= len(key) <= 255 and key.isascii() and key.isprintable())
    assert key is None or field in (key, f'"{key}"')


@fuzzed
@given(near('"3"', 'W/"3", "4"', "*", '"3" , "4"', ' ,"3",, W/""') | _HEADER)
def test_entity_tags(field: str) -> None:
    tags = value_or(Problem, lambda: tags_of(field))

    assert tags is None or tags == "*" or all(re.fullmatch('(W/)?"[^"]*"', tag) for tag in tags)


@fuzzed
@given(near("A" * 36, ", ".join(["AZLwoVw-fRqbHi9MaosNEgAAAAEAAAAAAAAB"] * 3)) | _HEADER)
def test_consistency_tokens(field: str) -> None:
    for token in value_or(InvalidRequest, lambda: consistency_token.parse(field, PARTITIONS)) or ():
        assert 1 <= token.version <= min(VERSION_MAX, token.position)
        assert 0 <= token.partition < PARTITIONS


@fuzzed
@given(near("3", "1.20.300.4", "9999999999", "0.0.0.0") | _HEADER)
def test_event_ids(field: str) -> None:
    version = value_or(Problem, lambda: parse_version(field))
    positions = value_or(Problem, lambda: parse_positions(field))

    assert version is None or 0 <= version <= VERSION_MAX
    assert all(0 <= position < 10**18 for position in positions or ())


@fuzzed
@given(near("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") | _HEADER)
def test_trace_contexts(field: str) -> None:
    assert traceparent_of(field) in (None, field)
    assert traceparent_of(field) is None or len(field) == 55


@pytest.fixture(scope="module")
def tokens() -> AccessTokens:
    given = {"DB_PASSWORD": "x", "RABBITMQ_USER": "x", "RABBITMQ_PASSWORD": "x"}
    return AccessTokens(Settings.model_validate({**given, "SECRET_KEY": SECRET}))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.sampled_from(STRANGE)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_CLAIM = st.sampled_from(["iss", "aud", "sub", "role", "iat", "nbf", "exp", "jti", "alg", "x"])
_VALID = signed(SECRET)
_HEAD, _CLAIMS, _SEAL = _VALID.split(".")


@fuzzed
@given(near(_VALID, f"{_HEAD}.{_CLAIMS}.", f"{segment(dict(HEADER, alg='none'))}.{_CLAIMS}."))
def test_edited_tokens(tokens: AccessTokens, token: str) -> None:
    verified = value_or(TokenInvalid, lambda: tokens.verify(token))

    assert verified is None or token == _VALID


@fuzzed
@given(st.dictionaries(_CLAIM, _JSON), st.dictionaries(_CLAIM | st.just("typ"), _JSON))
def test_tokens_of_any_content_that_nobody_signed(
    tokens: AccessTokens, content: dict[str, Any], header: dict[str, Any]
) -> None:
    token = ".".join((segment(HEADER | header), segment(claims() | content), _SEAL))

    assert value_or(TokenInvalid, lambda: tokens.verify(token)) is None


@fuzzed
@given(st.dictionaries(_CLAIM, _JSON, min_size=1))
def test_signed_tokens_of_any_content(tokens: AccessTokens, content: dict[str, Any]) -> None:
    """As another service would sign them that had our key: what passes, passes for what it says."""
    now = int(time.time())
    content = {"sub": str(NEW_ID)} | content
    token = value_or(Exception, lambda: signed(SECRET, **content))
    verified = token and value_or(TokenInvalid, lambda: tokens.verify(token))

    if verified:
        said = claims() | content
        assert (verified.user_id, verified.role) == (UUID(said["sub"]), said["role"])
        assert verified.expires_at > now - 10


# --- addresses ------------------------------------------------------------------------------------


@fuzzed
@given(near("A-100042-7", "a-7-5", "A-9223372036854775807-1") | st.text(max_size=30))
def test_order_numbers(text: str) -> None:
    place = parse_order_number(text, PARTITIONS)

    if place is not None:
        partition, position = place
        assert order_number(position, partition, PARTITIONS) == text.upper()
        assert 1 <= position < 2**63
        assert text.isascii()


@fuzzed
@given(near(str(NEW_ID), str(NEW_ID).upper(), f"{{{NEW_ID}}}", f"urn:uuid:{NEW_ID}") | st.text())
def test_ids(text: str) -> None:
    found = parse_uuid(text)

    assert found is None or str(found) == text.lower()
    assert value_or(NotFound, lambda: part_id(text)) == found


@fuzzed
@given(near("1", "200", "999999999") | st.text(max_size=20))
def test_line_ids(text: str) -> None:
    found = value_or(NotFound, lambda: line_id_of(text))

    assert found is None or str(found) == text


_CURSORS = Cursors(SECRET, "all")
_CURSOR = _CURSORS.encode(Cursor(1_772_366_400_123_456, NEW_ID))


@fuzzed
@given(near(_CURSOR) | st.text(max_size=100))
def test_cursors(cursor: str) -> None:
    place = value_or(InvalidRequest, lambda: _CURSORS.decode(cursor))

    assert place is None or cursor == _CURSOR


_PARAMETER = near(
    *("PAID,SHIPPED", "UNPAID", "USD", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5+01:00"),
    *("12.50", "true", "A-1000-", "50", "-created_at", "total", "csv", str(NEW_ID), "\ud800"),
)


@fuzzed
@given(st.data())
def test_filters_of_lists(data: st.DataObject) -> None:
    """What is accepted, becomes a condition and the seal of a cursor."""
    models: list[type[BaseModel]] = [StaffListParameters, ExportParameters]
    model = data.draw(st.sampled_from(models))
    names = st.sampled_from([*model.model_fields])
    asked = data.draw(st.dictionaries(names, _PARAMETER, max_size=5))
    filters = value_or(ValidationError, lambda: model.model_validate(asked))

    if filters is not None:
        parameters = conditions(filters).parameters
        assert filters.text().encode()
        assert not any("\0" in value for value in parameters.values() if isinstance(value, str))


# --- bodies ---------------------------------------------------------------------------------------


@cache
def bodies() -> dict[str, JsonBody[Any]]:
    """Of all routes, by their models' names."""
    found = (
        body_of(context.original_route) for context in iter_route_contexts(create_app().routes)
    )
    return {body.model.__name__: body for body in found if body is not None}


def _names_in(model: type[BaseModel]) -> list[str]:
    """Of the fields of the model, and of all that it is made of."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({name for part in parts for name in part.get("properties", {})})


_LEAF = (
    near("PEN", "9.99", "1", "USD", "PAID", "DAMAGED", str(NEW_ID), "2026-03-01T12:00:00Z")
    | st.text(max_size=20)
    | st.integers()
    | st.floats()
    | st.sampled_from([None, True, 0, 1, -1, 10**20, 1e308, "x" * 3_000, "\ud800", "9" * 40])
)


def _contents(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(_names_in(model)) | st.text(st.sampled_from(STRANGE), max_size=5)
    return st.recursive(
        _LEAF,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=12,
    )


@pytest.mark.fuzz
@pytest.mark.parametrize("name", sorted(bodies()))
def test_bodies_of_every_route(name: str) -> None:
    """What is accepted can be stored: as UTF-8, without NUL, and known again by its fingerprint."""
    body = bodies()[name]

    @settings(fuzzed, max_examples=fuzzed.max_examples // 3)  # type: ignore[call-arg]
    @given(_contents(body.model))
    def run(content: Any) -> None:
        parsed = value_or(
            (Problem, OrderServiceError), lambda: body.parse(json.dumps(content).encode())
        )
        if parsed is not None:
            assert "\\u0000" not in json.dumps(parsed.model_dump(), default=str)
            assert fingerprint(f"POST {name}", parsed)

    run()


def _texts_in(schema: dict[str, Any], at: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """Where a value of this schema may have a text; `x` is any further member."""
    schema = known_contract().resolved(schema)
    if "string" in (schema.get("type"), *schema.get("type", ())):
        yield at
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _texts_in(part, at)
    if "items" in schema:
        yield from _texts_in(schema["items"], (*at, 0))
    further = schema.get("additionalProperties")
    members = {"x": further} if isinstance(further, dict) else {}
    for name, member in (schema.get("properties", {}) | members).items():
        yield from _texts_in(member, (*at, name))


def _text_fields() -> list[tuple[str, str]]:
    """Every text of every request's body in the OpenAPI document: model, JSON pointer."""
    schemas = {
        content["schema"]["$ref"]
        for path in known_contract().document["paths"].values()
        for operation in path.values()
        for content in operation.get("requestBody", {"content": {}})["content"].values()
    }
    return sorted(
        {
            (reference.rpartition("/")[2], "#/" + "/".join(map(str, at)))
            for reference in schemas
            for at in _texts_in({"$ref": reference})
        }
    )


def test_every_body_has_texts_to_try() -> None:
    fields = _text_fields()

    assert len(fields) > 80
    assert set(bodies()) - {model for model, _ in fields} == {
        *("DecideReturnRequest", "PlaceOrdersRequest", "RemoveLineRequest")
    }
    assert ("PlaceOrderRequest", "#/items/0/attributes/x") in fields


@pytest.mark.parametrize(("model", "pointer"), _text_fields())
def test_every_text_of_every_body_refuses_nul(model: str, pointer: str) -> None:
    content: Any = "A\0"
    for name in reversed(pointer.split("/")[1:]):
        content = [content] if name == "0" else {name: content}

    with pytest.raises(Problem) as caught:
        bodies()[model].parse(json.dumps(content).encode())

    assert (caught.value.status, caught.value.name) == (422, "validation")
    for other, name in {"/price": "/unit_price", "/product_id": "/sku"}.items():
        pointer = pointer.removesuffix(other) + name if pointer.endswith(other) else pointer
    assert pointer in [error["pointer"] for error in caught.value.members["errors"]]


@fuzzed
@given(
    near('{"a": [1, 2.5e-3, "\\u00e9", null, true]}', '{"a": {"b": 1e400}}', "[[[[1]]]]").map(
        str.encode
    )
    | st.binary(max_size=100)
)
def test_json(data: bytes) -> None:
    parsed = value_or(Problem, lambda: parse_json(data))

    assert parsed is None or data.decode("utf-8")


@fuzzed
@given(near("username=a%40b.example&password=x&scope=", "grant_type=refresh_token").map(str.encode))
def test_forms(data: bytes) -> None:
    fields = value_or(Problem, lambda: parse_form(data))

    assert all(fields.values()) if fields else fields in (None, {})
