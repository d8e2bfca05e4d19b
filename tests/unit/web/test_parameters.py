"""Parsing of query parameters."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from order_service.web.query_parameters import Instant

INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00+01:00", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("0001-01-01T00:05:00.0+06:09", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:00:00-02:00", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_converted_to_utc(text: str, expected: datetime) -> None:
    assert INSTANT.validate_python(text) == expected
