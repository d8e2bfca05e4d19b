"""The base of all documents: one definition encodes the JSON and provides its schema."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, overload

from msgspec import Struct, UnsetType, structs
from msgspec.json import Encoder
from pydantic import Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from order_service.ids import time_text

T = TypeVar("T")
# The type of an optional member: UNSET leaves it out of the JSON.
Sometimes: TypeAlias = T | UnsetType

# Not orjson: it refuses integers beyond 64 bits, which a stored event may have.
to_json = Encoder().encode

Amount = Annotated[
    str,
    Field(
        pattern=r"^[0-9]+(\.[0-9]+)?$",
        description="An amount in the order's currency, with all of the currency's decimals.",
        examples=["24.98"],
    ),
]


def means(description: str) -> Any:
    """The description of a member in the OpenAPI document."""
    return Field(description=description)


def instant(description: str) -> WithJsonSchema:
    """Like `means`, for a member that is an instant, whose JSON schema would replace `means`."""
    return WithJsonSchema({"type": "string", "format": "date-time", "description": description})


# A value from `json_time`.
Instant = Annotated[datetime | str, instant("RFC 3339, in UTC, with microseconds.")]


class Document(Struct):
    """A JSON object. Members are always present, except those of type `Sometimes`; later releases
    may add members.

    A msgspec Struct is created and encoded faster than a dictionary, and mypy checks each one
    against its definition, which the OpenAPI document shows too.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type["Document"], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The schema for FastAPI, which gets a response's JSON schema from pydantic."""
        members = {
            member.encode_name: core_schema.typed_dict_field(
                handler.generate_schema(_when_set(member.type)), required=member.required
            )
            for member in structs.fields(cls)
        }
        name = f"{cls.__module__}.{cls.__qualname__}"
        return core_schema.typed_dict_schema(members, cls=cls, ref=f"{name}:{id(cls)}")


def _when_set(kind: Any) -> Any:
    """T for a `Sometimes[T]`, otherwise `kind`."""
    kinds = get_args(kind)
    if UnsetType not in kinds:
        return kind
    [when_set] = (one for one in kinds if one is not UnsetType)
    return when_set


@overload
def json_time(at: datetime) -> datetime | str: ...
@overload
def json_time(at: datetime | None) -> datetime | str | None: ...
def json_time(at: datetime | None) -> datetime | str | None:
    """A value that msgspec encodes like `time_text`, in a tenth of the time. Only zero microseconds
    need the text: msgspec leaves them out."""
    if at is None or (at.microsecond and at.tzinfo is UTC):
        return at
    return time_text(at)
