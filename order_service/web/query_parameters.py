"""Query parameters: each is known, given once, and written in one way.

A mistyped name, a second value or a time without an offset is refused. So a response respects every
parameter that was sent.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import APIKeyQuery
from pydantic import BaseModel, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from order_service.web.openapi.annotations import raises
from order_service.web.problems.problem import Problem, validation

ANY_KEY = ".key"  # a parameter `<name>.key` stands for all names that begin with `<name>.`
_NAME_SHOWN_MAX = 64
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_WHOLE = re.compile("[0-9]{1,10}")
_FLAGS = {"true": True, "false": False}


def _instant(value: Any) -> datetime:
    with suppress(ValueError):
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            # Keeps microseconds: .NET sends seven digits, Go nine.
            return _in_utc(datetime.fromisoformat(value.upper()))
    raise PydanticCustomError(
        "instant",
        "Expected a time with its offset, such as 2026-03-01T12:00:00Z (a + is written %2B)",
    )


def _in_utc(at: datetime) -> datetime:
    """`at` in UTC. Before the year 1 or after 9999 it becomes the first or last possible time: no
    event lies beyond."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return first if at.year == 1 else last


def _whole(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise PydanticCustomError("whole_number", "Expected a whole number of at most 10 digits")


def _flag(value: Any) -> bool:
    if value in _FLAGS:
        return _FLAGS[value]
    raise PydanticCustomError("flag", "Expected true or false")


# RFC 3339, as UTC.
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
# After a `Field` with bounds, which then also stand in the JSON schema.
WHOLE = BeforeValidator(_whole)
Flag = Annotated[bool, BeforeValidator(_flag)]


@raises("validation")
async def known_parameters(request: Request) -> None:
    """A FastAPI dependency: every query parameter is one of the route's, and given once.

    Raises Problem 422. Declare it after the caller, so that only known callers learn the names.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = set(_names_of(route.dependant))
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known and f"{name.partition('.')[0]}{ANY_KEY}" not in known:
            raise wrong_parameter(name, f"Unknown parameter: expected {_listed(known)}.")
        if name in seen:
            raise wrong_parameter(name, "This parameter is given more than once.")
        seen.add(name)


def wrong_parameter(name: str, detail: str) -> Problem:
    """422 `validation`."""
    error = {"msg": detail, "loc": ("query", name[:_NAME_SHOWN_MAX]), "type": "value_error"}
    return validation([error], "parameter")


def _listed(names: set[str]) -> str:
    return f"any of {', '.join(sorted(names))}" if names else "none at all"


def _names_of(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (info.alias or name for name, info in model.model_fields.items())
        else:
            yield field.alias
    if isinstance(dependant.call, APIKeyQuery):
        yield dependant.call.model.name
    for needed in dependant.dependencies:
        yield from _names_of(needed)
