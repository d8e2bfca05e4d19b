"""Metadata and tags: what the shop notes on an order for its own programs and people."""

from collections.abc import Mapping
from typing import Annotated
from unicodedata import normalize

from pydantic import AfterValidator, Field, WithJsonSchema

from order_service import limits
from order_service.api.orders.command_route import CommandRouter
from order_service.domain.commands import SetMetadata, SetTags
from order_service.web.fields import LINE, NO_CONTROL, ChangeBody, not_blank, string_schema
from order_service.web.json_body import PLAIN, Characters

router = CommandRouter(prefix="/orders/{order_id}", tags=["orders"])

Key = Annotated[
    str,
    Characters(1, limits.METADATA_KEY_LENGTH_MAX, f"^{LINE}$"),
    string_schema(limits.METADATA_KEY_LENGTH_MAX, rf"^{NO_CONTROL}+$"),
]
Value = Annotated[str, Characters(most=limits.METADATA_VALUE_LENGTH_MAX)]


def _map_schema(most: int, value: str | list[str], description: str) -> WithJsonSchema:
    """Names and values apart: few generators of clients know `patternProperties`, which pydantic
    would write."""
    longest = limits.METADATA_VALUE_LENGTH_MAX
    return WithJsonSchema(
        {
            "type": "object",
            "description": description,
            "maxProperties": most,
            "propertyNames": {
                "minLength": 1,
                "maxLength": limits.METADATA_KEY_LENGTH_MAX,
                "pattern": rf"^{NO_CONTROL}+$",
            },
            "additionalProperties": {
                "type": value,
                "maxLength": longest,
                "pattern": f"^{PLAIN}*$",
            },
        }
    )


Metadata = Annotated[
    dict[Key, Value],
    Field(max_length=limits.METADATA_MAX),
    _map_schema(limits.METADATA_MAX, "string", "For the shop's programs."),
]
Tag = Annotated[
    str,
    Characters(1, limits.TAG_LENGTH_MAX, f"^{LINE}$"),
    AfterValidator(not_blank),
    string_schema(limits.TAG_LENGTH_MAX, rf"^{NO_CONTROL}*(?!\s){NO_CONTROL}+$"),
]


def _distinct(tags: list[str]) -> list[str]:
    """In NFC, without space around them; of two that differ in case only, the first."""
    found: dict[str, str] = {}
    for tag in tags:
        written = normalize("NFC", tag).strip()
        found.setdefault(written.casefold(), written)
    return list(found.values())


Tags = Annotated[
    list[Tag],
    Field(max_length=limits.TAGS_MAX, description="For the shop's people, who search by them."),
    AfterValidator(_distinct),
]


class SetMetadataRequest(ChangeBody):
    metadata: Annotated[
        dict[Key, Value | None],
        Field(max_length=2 * limits.METADATA_MAX),
        _map_schema(
            2 * limits.METADATA_MAX, ["string", "null"], "null removes a key; others stay."
        ),
    ]


class SetTagsRequest(ChangeBody):
    tags: Tags


@router.command(
    "PATCH",
    "/metadata/",
    SetMetadata,
    operation_id="orders_set_metadata",
    summary="Change the metadata",
)
def set_metadata(body: SetMetadataRequest) -> SetMetadata:
    """Sets and removes entries; the others stay. An order has at most 50."""
    values: Mapping[str, str | None] = body.metadata
    return SetMetadata(values)


@router.command(
    "PUT",
    "/tags/",
    SetTags,
    operation_id="orders_set_tags",
    summary="Set the tags",
)
def set_tags(body: SetTagsRequest) -> SetTags:
    """Replaces all tags of the order. Tags that differ in case only are one."""
    return SetTags(tuple(body.tags))
