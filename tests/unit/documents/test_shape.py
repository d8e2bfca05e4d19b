"""One definition writes a document's bytes and gives its JSON schema."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated
from uuid import UUID

import pytest
from msgspec import UNSET, field
from pydantic import TypeAdapter

from order_service.documents.shape import (
    Document,
    Instant,
    Sometimes,
    json_time,
    means,
    to_json,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "2026-03-01T12:00:00.000000Z"


class Part(Document):
    """A part."""

    id: UUID


class Whole(Document):
    first: Annotated[int | None, means("The first one.")] = field(name="from")
    parts: list[Part]
    at: Instant
    note: Sometimes[Annotated[str, means("Where there is one.")]] = UNSET


def test_a_member_that_does_not_apply_is_left_out() -> None:
    whole = Whole(None, [Part(UUID(int=1))], json_time(AT))
    noted = Whole(3, [], json_time(AT), "fragile")

    part = '{"id":"00000000-0000-0000-0000-000000000001"}'
    assert to_json(whole) == f'{{"from":null,"parts":[{part}],"at":"{TEXT}"}}'.encode()
    assert to_json(noted) == f'{{"from":3,"parts":[],"at":"{TEXT}","note":"fragile"}}'.encode()


def test_the_json_schema_has_the_members_that_are_written() -> None:
    assert TypeAdapter(Whole).json_schema() == {
        "$defs": {
            "Part": {
                "title": "Part",
                "description": "A part.",
                "type": "object",
                "properties": {"id": {"title": "Id", "type": "string", "format": "uuid"}},
                "required": ["id"],
            }
        },
        "title": "Whole",
        "type": "object",
        "properties": {
            "from": {
                "title": "From",
                "description": "The first one.",
                "anyOf": [{"type": "integer"}, {"type": "null"}],
            },
            "parts": {"title": "Parts", "type": "array", "items": {"$ref": "#/$defs/Part"}},
            "at": {
                "title": "At",
                "type": "string",
                "format": "date-time",
                "description": "RFC 3339, in UTC, with microseconds.",
            },
            "note": {"title": "Note", "type": "string", "description": "Where there is one."},
        },
        "required": ["from", "parts", "at"],
    }


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (AT, TEXT),
        (AT.replace(microsecond=7), "2026-03-01T12:00:00.000007Z"),
        (AT.astimezone(timezone(timedelta(hours=5, minutes=30))), TEXT),
    ],
)
def test_an_instant_has_one_text(at: datetime, text: str) -> None:
    assert to_json(json_time(at)) == f'"{text}"'.encode()
