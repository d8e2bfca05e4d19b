"""Types of fields that any body may have: text, ids, times, codes."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from order_service import limits
from order_service.accounts import users
from order_service.errors import InvalidRequest
from order_service.ids import parse_uuid
from order_service.web.json_body import PLAIN, Characters
from order_service.web.query_parameters import Instant

T = TypeVar("T")
TEXT_MAX = limits.TEXT_LENGTH_MAX
NOTE_MAX = 2_000
_YEARS = range(2000, 2200)
# For the OpenAPI document; `Characters` does the checking.
NO_CONTROL = r"[^\x00-\x1f\x7f]"


def _near(value: datetime) -> datetime:
    if value.year not in _YEARS:
        raise PydanticCustomError("time", "A time lies between the years 2000 and 2199")
    return value


def _id(value: Any) -> UUID:
    found = parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("id", "An id is a UUID in its canonical form")
    return found


def not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("blank", "Text may not be blank")
    return value


def field_error(check: Callable[[str], T], value: str) -> T:
    """Turns the error of a rule into pydantic's, so that the response points at the field."""
    try:
        return check(value)
    except InvalidRequest as error:
        raise PydanticCustomError("refused", "{reason}", {"reason": error.detail}) from None


def _email(value: str) -> str:
    return field_error(users.check_email, value)


def _not_blank_of(characters: str) -> str:
    return rf"^{characters}*(?!\s){characters}+$"


def string_schema(length: int, pattern: str, least: int = 1) -> WithJsonSchema:
    schema = {"type": "string", "minLength": least, "maxLength": length, "pattern": pattern}
    return WithJsonSchema(schema)


Id = Annotated[UUID, BeforeValidator(_id)]
Time = Annotated[Instant, AfterValidator(_near)]
# One line: names and references appear in lists, labels and file names. Only notes have several.
LINE = r"[^\t\r\n]*"
ShortText = Annotated[
    str,
    Characters(1, TEXT_MAX, f"^{LINE}$"),
    string_schema(TEXT_MAX, rf"^{NO_CONTROL}+$"),
]
Words = Annotated[
    ShortText, AfterValidator(not_blank), string_schema(TEXT_MAX, _not_blank_of(NO_CONTROL))
]
Note = Annotated[
    str,
    Characters(1, NOTE_MAX),
    AfterValidator(not_blank),
    string_schema(NOTE_MAX, _not_blank_of(PLAIN)),
]
# `Email` is bounded and otherwise unchecked, for what is only looked up.
Email = Annotated[str, Characters(most=limits.EMAIL_LENGTH_MAX)]
NewEmail = Annotated[Email, AfterValidator(_email)]
Code = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChangeBody(Body):
    """The body of a command on an existing order."""

    expected_version: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="Refuse with 409 unless the order is at this version."
    )
