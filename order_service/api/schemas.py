"""What clients may send about orders, and what it means as a command. May import body, the domain.

Quantities and prices come as JSON numbers or as strings: clients of the older service send maps of
strings. A price never passes through a float: the parser gives its decimal text.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from order_service.api.body import Text
from order_service.domain import money
from order_service.domain.commands import PlaceOrder, TargetStatus
from order_service.domain.events import CancelReason, OrderLine
from order_service.domain.state import LINES_MAX, QUANTITY_MAX
from order_service.errors import InvalidRequest

ATTRIBUTES_MAX = 20
TEXT_MAX = 255
NOTE_MAX = 2_000
PRICE_DIGITS_MAX = 15
_QUANTITY = re.compile(r"[0-9]{1,6}", re.ASCII)
_PRICE = re.compile(r"[0-9]{1,13}(\.[0-9]{1,20})?", re.ASCII)


def _quantity(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return int(value)
    raise PydanticCustomError("quantity", "A quantity is a whole number of at most 6 digits")


def _price(value: Any) -> Decimal:
    if isinstance(value, str) and _PRICE.fullmatch(value):
        return Decimal(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        price = Decimal(value)
        if price >= 0 and _written_in(price, PRICE_DIGITS_MAX):
            return price
    raise PydanticCustomError(
        "price", "A price is a number of at most 15 digits, or a string such as 129.99"
    )


def _written_in(number: Decimal, digits: int) -> bool:
    """Neither more significant digits than that, nor further away from the point."""
    _, significant, exponent = number.as_tuple()
    assert isinstance(exponent, int), "the parser refuses NaN and infinities"
    return len(significant) <= digits and -digits <= exponent and number.adjusted() < digits


Quantity = Annotated[
    int,
    BeforeValidator(_quantity),
    Field(ge=1, le=QUANTITY_MAX, json_schema_extra={"type": ["integer", "string"]}),
]
Price = Annotated[
    Decimal,
    BeforeValidator(_price),
    Field(json_schema_extra={"type": ["number", "string"], "examples": ["9.99"]}),
]
# One line: names and references end up in lists, labels and file names. Only notes have more.
_LINE = r"[^\t\r\n]*"
ShortText = Annotated[
    Text, StringConstraints(strict=True, min_length=1, max_length=TEXT_MAX, pattern=f"^{_LINE}$")
]
AttributeText = Annotated[
    Text, StringConstraints(strict=True, max_length=TEXT_MAX, pattern=f"^{_LINE}$")
]
Note = Annotated[Text, StringConstraints(strict=True, min_length=1, max_length=NOTE_MAX)]


class Item(BaseModel):
    """`product_id` and `price` are other names of `sku` and `unit_price`; keys that are not listed
    are kept as the line's attributes (strings, at most 20)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    _OTHER_NAMES: ClassVar = {"product_id": "sku", "price": "unit_price"}

    sku: ShortText
    name: ShortText | None = None
    quantity: Quantity
    unit_price: Price | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        renamed = dict(value)
        for other, name in cls._OTHER_NAMES.items():
            if other in renamed:
                if name in renamed:
                    raise PydanticCustomError("two_names", f"Send {name} or {other}, not both")
                renamed[name] = renamed.pop(other)
        return renamed

    @model_validator(mode="after")
    def _few_attributes(self) -> "Item":
        if len(self.attributes) > ATTRIBUTES_MAX:
            raise PydanticCustomError("attributes", "An item has at most 20 further keys")
        return self

    @property
    def attributes(self) -> dict[str, str]:
        return self.__pydantic_extra__ or {}

    __pydantic_extra__: dict[
        ShortText, Annotated[Text, StringConstraints(strict=True, max_length=TEXT_MAX)]
    ]


class PlaceOrderRequest(BaseModel):
    """Either every item has a price, or none has and `total_price` is the agreed total."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"sku": "PEN-1", "name": "Pen", "quantity": 2, "unit_price": "9.99"},
                        {"sku": "INK-7", "quantity": 1, "unit_price": "5.00"},
                    ],
                    "total_price": "24.98",
                    "currency": "USD",
                }
            ]
        },
    )

    items: list[Item] = Field(min_length=1, max_length=LINES_MAX)
    total_price: Price | None = None
    currency: str | None = Field(default=None, max_length=3)
    external_reference: ShortText | None = None

    def command(self, user_id: Any, default_currency: str) -> PlaceOrder:
        """`InvalidRequest` for an unknown currency, or an amount with more digits than it has."""
        currency = default_currency if self.currency is None else self.currency
        money.exponent(currency)
        return PlaceOrder(
            user_id=user_id,
            currency=currency,
            lines=tuple(
                OrderLine(
                    line_id=number,
                    sku=item.sku,
                    name=item.name,
                    quantity=item.quantity,
                    unit_price_minor=_minor(item.unit_price, currency),
                    attributes=item.attributes,
                )
                for number, item in enumerate(self.items, start=1)
            ),
            total_price_minor=_minor(self.total_price, currency),
            external_reference=self.external_reference,
        )


def _minor(price: Decimal | None, currency: str) -> int | None:
    return None if price is None else money.to_minor(price, currency)


class ChangeStatusRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"status": "PAID"}]}
    )

    status: TargetStatus | Literal["PARTIALLY_SHIPPED", "RETURNED"]
    reason: CancelReason | None = None
    note: (
        Annotated[Text, StringConstraints(strict=True, min_length=1, max_length=NOTE_MAX)] | None
    ) = None
    tracking_number: ShortText | None = None
    expected_version: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None

    @field_validator("note", "tracking_number")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise PydanticCustomError("blank", "Text may not be blank")
        return value

    @property
    def target(self) -> TargetStatus:
        if self.status == "PARTIALLY_SHIPPED" or self.status == "RETURNED":  # narrows
            raise InvalidRequest(
                "status-not-settable",
                f"{self.status} follows from shipments and returns: it cannot be set.",
            )
        return self.status
