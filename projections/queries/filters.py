"""The filters and sort orders of order lists: query parameters, SQL conditions, cursors' seal."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from order_service import limits
from order_service.domain import money
from order_service.domain.state import FulfillmentStatus, PaymentStatus, Status
from order_service.errors import InvalidRequest
from order_service.web.fields import string_schema
from order_service.web.json_body import PLAIN, Text
from order_service.web.query_parameters import WHOLE, Flag, Instant
from projections.queries.cursors import LENGTH_MAX
from projections.queries.order_csv import RFC_4180, Dialect
from projections.read_models import order_view

Sort = Literal[
    "created_at", "-created_at", "updated_at", "-updated_at", "total_price", "-total_price"
]
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
_DECIMALS = {"point": ".", "comma": ","}
_AMOUNT = re.compile(r"[0-9]{1,13}(\.[0-9]{1,20})?")
# A short prefix would match a large part of all numbers, so it must end with a dash.
_NUMBER_PREFIX = re.compile(f"A-([0-9]{{1,19}}-[0-9]?|[0-9]{{{limits.LIST_SEARCH_DIGITS_MIN},19}})")


def _any_of(statuses: Any) -> Callable[[str], str]:
    """A comma-separated set, sorted: a cursor must not depend on how a client writes the set."""
    names: tuple[str, ...] = get_args(statuses)

    def canonical(value: str) -> str:
        wanted = {name.strip() for name in value.split(",")}
        if not wanted <= set(names):
            raise PydanticCustomError(
                "status", "Expected any of {names}, comma-separated", {"names": ", ".join(names)}
            )
        return ",".join(sorted(wanted))

    return canonical


def _set_of(statuses: Any) -> WithJsonSchema:
    either = "|".join(get_args(statuses))
    return WithJsonSchema({"type": "string", "pattern": f"^({either})(,({either}))*$"})


def _currency(value: str) -> str:
    if value not in money.EXPONENTS:
        raise PydanticCustomError("currency", "Expected an ISO 4217 code such as USD")
    return value


def _minor(value: Any, info: ValidationInfo) -> int:
    currency = info.data.get("currency")
    if currency is None:
        raise PydanticCustomError("needs_currency", "An amount needs a currency")
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise PydanticCustomError("amount", "Expected an amount such as 129.99")
    try:
        return money.to_minor(Decimal(value), currency)
    except InvalidRequest as error:
        raise PydanticCustomError("amount", "{detail}", {"detail": error.detail}) from None


Statuses = Annotated[str, AfterValidator(_any_of(Status)), _set_of(Status)]
PaymentStatuses = Annotated[str, AfterValidator(_any_of(PaymentStatus)), _set_of(PaymentStatus)]
FulfillmentStatuses = Annotated[
    str, AfterValidator(_any_of(FulfillmentStatus)), _set_of(FulfillmentStatus)
]
Currency = Annotated[
    str, AfterValidator(_currency), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})
]
Minor = Annotated[
    int,
    BeforeValidator(_minor),
    WithJsonSchema({"type": "string", "pattern": f"^{_AMOUNT.pattern}$"}),
]
Tag = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=limits.TAG_LENGTH_MAX),
    string_schema(limits.TAG_LENGTH_MAX, f"^{PLAIN}*$"),
]
MetadataEntries = Annotated[
    dict[
        Annotated[Text, StringConstraints(min_length=1, max_length=limits.METADATA_KEY_LENGTH_MAX)],
        Annotated[Text, StringConstraints(max_length=limits.METADATA_VALUE_LENGTH_MAX)],
    ],
    Field(max_length=limits.METADATA_MAX),
    string_schema(limits.METADATA_VALUE_LENGTH_MAX, f"^{PLAIN}*$", 0),
]
Search = Annotated[
    Text,
    BeforeValidator(str.strip),
    StringConstraints(min_length=1, max_length=limits.LIST_SEARCH_LENGTH_MAX),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": limits.LIST_SEARCH_LENGTH_MAX,
            "pattern": r"^[^\x00-\x1f\x7f]*(?!\s)[^\x00-\x1f\x7f]+$",
        }
    ),
]


METADATA = "metadata."  # before the key, in the names of query parameters
_ANY_METADATA = f"{METADATA}key"


class Filters(BaseModel):
    """Parsed amounts are in minor units of the currency."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    status: Statuses | None = Field(None, description="Any of these.")
    payment_status: PaymentStatuses | None = Field(None, description="Any of these.")
    fulfillment_status: FulfillmentStatuses | None = Field(None, description="Any of these.")
    created_from: Instant | None = Field(None, description="Placed at this time or later.")
    created_to: Instant | None = Field(None, description="Placed before this time.")
    updated_from: Instant | None = Field(None, description="Last changed at this time or later.")
    updated_to: Instant | None = Field(None, description="Last changed before this time.")
    currency: Currency | None = Field(None, description="ISO 4217.")
    total_min: Minor | None = Field(None, description="At least this total; needs a currency.")
    total_max: Minor | None = Field(None, description="At most this total; needs a currency.")
    has_credit_due: Flag | None = Field(
        None, description="Whether the shop owes the customer money."
    )
    return_open: Flag | None = Field(None, description="Whether a return is open.")
    refund_failed: Flag | None = Field(None, description="Whether the last refund has failed.")
    prices_trusted: Flag | None = Field(
        None, description="Whether the shop, not its customer, set the prices."
    )
    on_hold: Flag | None = Field(None, description="Whether a hold stands.")
    tag: Tag | None = Field(None, description="With this tag, in upper or lower case.")
    metadata: MetadataEntries | None = Field(
        None,
        alias=_ANY_METADATA,
        description="`metadata.<key>=<value>`: with this metadata entry, exactly. Several: with "
        "all of them.",
    )
    q: Search | None = Field(
        None,
        description="An order number, or its beginning "
        f"(at least {limits.LIST_SEARCH_DIGITS_MIN} digits, or up to a dash); or exactly: the "
        "customer's e-mail address, that or the telephone number of a contact, a SKU, a "
        "tracking number, a tag, the external reference, a reference of a payment or refund.",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_metadata(cls, given: Any) -> Any:
        """Query parameters whose names begin with METADATA are entries of one field."""
        if not isinstance(given, dict):
            return given
        entries = {k.removeprefix(METADATA): v for k, v in given.items() if k.startswith(METADATA)}
        if not entries:
            return given
        others = {k: v for k, v in given.items() if not k.startswith(METADATA)}
        return others | {_ANY_METADATA: entries}

    @property
    def needs_new_columns(self) -> bool:
        """Whether they use columns that the first version of order_view did not have."""
        flags = (self.has_credit_due, self.return_open, self.refund_failed, self.prices_trusted)
        new = (*flags, self.on_hold, self.tag, self.metadata, self.q)
        return any(value is not None for value in new)

    def text(self) -> str:
        """The filters and sort order in one canonical text, which seals cursors."""
        return self.model_dump_json(exclude={"limit", "cursor", "include"}, exclude_none=True)


class ListParameters(Filters):
    """A page of a list."""

    sort: Sort = Field(
        "-created_at", description="`-`: descending. `total_price` needs a currency."
    )
    limit: Annotated[
        int, Field(ge=1, le=limits.LIST_LIMIT_MAX, description="Orders per page."), WHOLE
    ] = limits.LIST_LIMIT_DEFAULT
    cursor: str | None = Field(
        None,
        max_length=LENGTH_MAX,
        description="From another page with the same filters.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    )

    @field_validator("sort")
    @classmethod
    def _one_currency(cls, value: str, info: ValidationInfo) -> str:
        if value.endswith("total_price") and info.data.get("currency") is None:
            raise PydanticCustomError("needs_currency", "Sorting by total_price needs a currency")
        return value


class StaffListParameters(ListParameters):
    user_id: UUID | None = Field(None, description="The customer's id.")
    include: Literal["total"] | None = Field(
        None, description=f"`total`: the number of orders, counted up to {limits.LIST_TOTAL_MAX}."
    )


class ExportParameters(Filters):
    user_id: UUID | None = Field(None, description="The customer's id.")
    format: Literal["csv", "ndjson"] = Field(
        "ndjson", description="`csv`: a line per item. `ndjson`: a line per order."
    )
    excel: Flag = Field(
        False, description="CSV with a byte order mark, which Excel needs to read UTF-8."
    )
    separator: Literal["comma", "semicolon", "tab"] | None = Field(
        None, description="With `excel`: between cells, as in the reader's locale (default comma)."
    )
    decimal: Literal["point", "comma"] | None = Field(
        None, description="With `excel`: the decimal sign of amounts (default point)."
    )

    @field_validator("excel")
    @classmethod
    def _only_csv(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("format") != "csv":
            raise PydanticCustomError("needs_csv", "excel needs format=csv")
        return value

    @field_validator("separator", "decimal")
    @classmethod
    def _only_excel(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("excel"):
            raise PydanticCustomError(
                "needs_excel",
                "A separator and a decimal sign need excel=true: plain CSV is RFC 4180",
            )
        return value

    @property
    def dialect(self) -> Dialect:
        """Of the CSV file."""
        if not self.excel:
            return RFC_4180
        return Dialect(
            _SEPARATORS[self.separator or "comma"],
            _DECIMALS[self.decimal or "point"],
            byte_order_mark=True,
        )


# --- conditions -----------------------------------------------------------------------------------

# No order changes before it is placed. Each time condition implies one on the other column, so that
# an index scan in the order of that column starts at the first match.
_CONDITIONS: dict[str, str] = {
    "user_id": "user_id = :user_id",
    "created_from": "created_at >= :created_from AND updated_at >= :created_from",
    "created_to": "created_at < :created_to",
    "updated_from": "updated_at >= :updated_from",
    "updated_to": "updated_at < :updated_to AND created_at < :updated_to",
    "currency": "currency = :currency",
    "total_min": "total_minor >= :total_min",
    "total_max": "total_minor <= :total_max",
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """SQL after WHERE, and its parameters."""

    sql: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contacts:
    """Who has the e-mail address or telephone number `q`: a user, and orders by their contact with
    their partitions."""

    user_id: UUID | None = None
    order_ids: Sequence[UUID] = ()
    partitions: Sequence[int] = ()


def conditions(
    filters: Filters, user_id: UUID | None = None, contacts: Contacts = Contacts()
) -> Conditions:
    """`contacts`: those that `filters.q` finds."""
    values = {name: getattr(filters, name, None) for name in _CONDITIONS} | {"user_id": user_id}
    parameters = {name: value for name, value in values.items() if value is not None}
    found = [*_of_partial_indexes(filters), *(_CONDITIONS[name] for name in parameters)]
    labels = [] if filters.tag is None else [order_view.tag_term(filters.tag)]
    labels += [order_view.metadata_term(*entry) for entry in (filters.metadata or {}).items()]
    if labels:
        found.append("terms @> :labels")
        parameters["labels"] = labels
    if filters.q is not None:
        search = _search(filters.q, contacts)
        found.append(search.sql)
        parameters |= search.parameters
    return Conditions(" AND ".join(["true", *found]), parameters)


def _of_partial_indexes(filters: Filters) -> list[str]:
    """Literals, not parameters: the planner compares them with the indexes' own conditions. Every
    value is one of the domain's names."""
    found = []
    for column in ("status", "payment_status", "fulfillment_status"):
        wanted = getattr(filters, column)
        if wanted is not None:
            names = ", ".join(f"'{name}'" for name in wanted.split(","))
            found.append(f"{column} IN ({names})")
    if filters.has_credit_due is not None:
        found.append(f"credit_due_minor {'>' if filters.has_credit_due else '<='} 0")
    for column in ("return_open", "refund_failed", "prices_trusted", "on_hold"):
        wanted = getattr(filters, column)
        if wanted is not None:
            found.append(column if wanted else f"NOT {column}")
    return found


def _search(q: str, contacts: Contacts) -> Conditions:
    """Alternatives that each have an index. One that cannot match is left out, so that the planner
    uses the indexes of the others."""
    either = ["terms @> ARRAY[:term]"]
    parameters: dict[str, Any] = {"term": order_view.search_term(q)}
    if _NUMBER_PREFIX.fullmatch(q.upper()):
        # Like LIKE with a prefix, in operators for which a prepared statement uses the index.
        either.append("(number ~>=~ :number_from AND number ~<~ :number_to)")
        number = q.upper()
        after = number[:-1] + chr(ord(number[-1]) + 1)
        parameters |= {"number_from": number, "number_to": after}
    if contacts.user_id is not None:
        either.append("user_id = :searched_user")
        parameters |= {"searched_user": contacts.user_id}
    if contacts.order_ids:
        # With the partitions, which come first in the key.
        either.append("(partition = ANY (:searched_partitions) AND order_id = ANY (:searched))")
        parameters |= {
            "searched_partitions": sorted(set(contacts.partitions)),
            "searched": [*contacts.order_ids],
        }
    return Conditions(f"({' OR '.join(either)})", parameters)
