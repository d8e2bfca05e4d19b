"""Country codes are those that ISO 3166-1 assigns; for others the right one is named."""

import pytest
from pydantic import TypeAdapter, ValidationError

from order_service.api.orders.countries import CODES, Country

ADAPTER: TypeAdapter[str] = TypeAdapter(Country)


def test_all_assigned_codes_are_taken() -> None:
    assert len(CODES) == 249
    assert {ADAPTER.validate_python(code) for code in CODES} == CODES


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("UK", "UK is no country of ISO 3166-1: send GB"),
        ("EL", "EL is no country of ISO 3166-1: send GR"),
        ("EU", "EU is no country of ISO 3166-1, such as GB"),
        ("XX", "XX is no country of ISO 3166-1, such as GB"),
        ("ZZ", "ZZ is no country of ISO 3166-1, such as GB"),
        ("gb", "String should match pattern '^[A-Z]{2}$'"),
    ],
)
def test_other_codes_are_refused_with_the_likely_one(code: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ADAPTER.validate_python(code)

    assert refused.value.errors()[0]["msg"] == message
