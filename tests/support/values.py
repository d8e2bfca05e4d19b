"""Changed copies of values."""

import dataclasses
from typing import Any, TypeVar

from msgspec import Struct, structs

T = TypeVar("T")


def replace(value: T, **fields: Any) -> T:
    """A copy with other fields, whether the value is a Struct or a dataclass."""
    if isinstance(value, Struct):
        return structs.replace(value, **fields)
    return dataclasses.replace(value, **fields)  # type: ignore[type-var]
