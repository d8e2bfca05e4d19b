"""What all documents are made of: one definition writes the bytes and gives the JSON schema."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, overload

from msgspec import Struct, UnsetType, structs
from msgspec.json import Encoder
from pydantic import Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from order_service.ids import time_text

T = TypeVar("T")
# A member that is left out where it does not apply.
Sometimes: TypeAlias = T | UnsetType

# Not orjson, which refuses integers beyond 64 bits, as a stored event may have them.
to_json = Encoder().encode

Amount = Annotated[
    str,
    Field(
        pattern=r"^[0-9]+(\.[0-9]+)?$",
        description="In the order's currency, with all of its decimals.",
        examples=["24.98"],
    ),
]


def means(description: str) -> Any:
    """Of a member, for the OpenAPI document."""
    return Field(description=description)


def instant(description: str) -> WithJsonSchema:
    """Of a member that is an instant: `means` gives way to its schema."""
    return WithJsonSchema({"type": "string", "format": "date-time", "description": description})


# Made by `json_time`.
Instant = Annotated[datetime | str, instant("RFC 3339, in UTC, with microseconds.")]


class Document(Struct):
    """A JSON object. Each member is always there, except for `Sometimes`; later releases may add
    members.

    A Struct of msgspec is made and written faster than a dictionary, and mypy checks each one
    against its definition, which is also what the OpenAPI document shows.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type["Document"], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """For FastAPI, which takes a response's JSON schema from pydantic."""
        members = {
            member.encode_name: core_schema.typed_dict_field(
                handler.generate_schema(_when_set(member.type)), required=member.required
            )
            for member in structs.fields(cls)
        }
        name = f"{cls.__module__}.{cls.__qualname__}"
        return core_schema.typed_dict_schema(members, cls=cls, ref=f"{name}:{id(cls)}")


def _when_set(kind: Any) -> Any:
    """The T of a `Sometimes[T]`; any other type itself."""
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
    """What is written as `time_text`, in a tenth of its time: msgspec only leaves out a fraction of
    zero."""
    if at is None or (at.microsecond and at.tzinfo is UTC):
        return at
    return time_text(at)
