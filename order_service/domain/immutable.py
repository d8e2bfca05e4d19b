"""Immutable values that are fast to make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

from msgspec import Struct

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """A dataclass whose fields mypy treats as frozen.

    This is not enforced at run time: a frozen dataclass sets its fields one by one through
    `object.__setattr__` and takes five times as long to make (1.7 us instead of 0.3 for an order).
    A rebuild makes several for every order, and frozen ones took a tenth of the time of a POST.
    The hottest paths pass fields by position: by name takes 0.4 us for nine fields instead of 0.14.
    """
    return dataclass(unsafe_hash=True)(cls)


class Stored(Struct, frozen=True, omit_defaults=True):
    """A value of an event, as the log stores it: members with their default value are left out.

    So a new member with a default costs no bytes, and old payloads are read with the default.
    """


Fields = Mapping[str, Any]  # the changed fields of an object, by name


def copy_with(whole: T, **fields: Any) -> T:
    """Like `dataclasses.replace`, in a fifth of the time (0.4 us an order instead of 1.9): it
    copies all fields at once, not one by one."""
    changed = object.__new__(type(whole))
    changed.__dict__ = vars(whole).copy()
    change(changed, fields)
    return changed


def change(whole: object, fields: Fields) -> None:
    attributes = vars(whole)
    count = len(attributes)
    attributes.update(fields)
    assert len(attributes) == count, "every changed field exists"
