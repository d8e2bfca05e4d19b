"""Parsing of query parameters."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

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


@pytest.mark.parametrize(
    ("fraction", "microsecond"),
    [
        (".1", 100_000),
        (".123456", 123_456),
        (".1234567", 123_456),
        (".123456789", 123_456),
        (".999999999", 999_999),
        (".0000009", 0),
    ],
)
def test_a_time_keeps_its_microseconds(fraction: str, microsecond: int) -> None:
    """.NET's round-trip format has seven digits, Go's nanoseconds have nine."""
    found = INSTANT.validate_python(f"2026-03-01T12:00:00{fraction}Z")

    assert found == datetime(2026, 3, 1, 12, 0, 0, microsecond, tzinfo=UTC)


@pytest.mark.parametrize("fraction", [".", ".1234567890", ",5"])
def test_a_fraction_has_one_to_nine_digits(fraction: str) -> None:
    with pytest.raises(ValidationError):
        INSTANT.validate_python(f"2026-03-01T12:00:00{fraction}Z")
