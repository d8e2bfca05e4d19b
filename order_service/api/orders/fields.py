"""The types of fields in the bodies of order commands, and of parameters in their paths.

Quantities and prices are JSON numbers or strings: clients of the older service send maps of
strings. A price never passes through a float: the parser keeps its decimal text.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

from fastapi import Path
from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from order_service.domain import money
from order_service.domain.parts import LineQuantity, OrderLine
from order_service.domain.state import LINES_MAX, QUANTITY_MAX
from order_service.errors import NotFound
from order_service.ids import parse_uuid
from order_service.log.append import OrderText
from order_service.log.fold import FoldedOrder
from order_service.web.fields import LINE, NO_CONTROL, TEXT_MAX, Body, ShortText, string_schema
from order_service.web.json_body import Characters

PRICE_DIGITS_MAX = 15
ATTRIBUTES_MAX = 20
UNIT_LENGTH_MAX = 16
LINE_ID_MAX = 10**9 - 1
_LINE_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_QUANTITY_TEXT = "^[0-9]{1,7}$"
_RATE_TEXT = r"^[0-9]{1,3}(\.[0-9]{1,20})?$"
_PRICE_TEXT = r"^[0-9]{1,13}(\.[0-9]{1,20})?$"


class _OneOfForms:
    """Annotates a value that has one of several forms; the first that matches is used.

    The forms are core schemas, as in `Characters`: then most quantities and prices need no Python
    function of ours (6.2 us an order of three lines instead of 7.7).
    """

    def __init__(self, code: str, message: str, *forms: core_schema.CoreSchema) -> None:
        self._schema = core_schema.union_schema(
            [*forms], mode="left_to_right", custom_error_type=code, custom_error_message=message
        )

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return self._schema


def _text_form(pattern: str, read: Callable[[str], Any]) -> core_schema.CoreSchema:
    text = core_schema.str_schema(strict=True, pattern=pattern)
    return core_schema.chain_schema([text, core_schema.no_info_plain_validator_function(read)])


def _price_number(value: Any) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        price = Decimal(value)
        if price >= 0 and _fits_digits(price, PRICE_DIGITS_MAX):
            return price
    raise ValueError("not a price")


def _fits_digits(number: Decimal, digits: int) -> bool:
    """At most `digits` significant digits, and none further than that from the decimal point."""
    _, significant, exponent = number.as_tuple()
    assert isinstance(exponent, int), "the parser refuses NaN and infinities"
    return len(significant) <= digits and -digits <= exponent and number.adjusted() < digits


def _text(pattern: str, **more: Any) -> WithJsonSchema:
    """The JSON schema of the input: pydantic itself would describe a validator's output. Numbers
    are taken, too, but one type is easier for clients, and a number may pass through a float."""
    return WithJsonSchema({"type": "string", "pattern": pattern, **more})


Quantity = Annotated[
    int,
    _OneOfForms(
        "quantity",
        "A quantity is a whole number of at most 7 digits",
        core_schema.int_schema(strict=True),
        _text_form(_QUANTITY_TEXT, int),
    ),
    Field(ge=1, le=QUANTITY_MAX),
    _text(f"^0*([1-9][0-9]{{0,5}}|{QUANTITY_MAX})$", maxLength=7, examples=["2"]),
]
Price = Annotated[
    Decimal,
    _OneOfForms(
        "price",
        "A price is a number of at most 15 digits, or a string such as 129.99",
        _text_form(_PRICE_TEXT, Decimal),
        core_schema.no_info_plain_validator_function(_price_number),
    ),
    _text(_PRICE_TEXT, examples=["129.99"]),
]
AttributeText = Annotated[
    str,
    Characters(0, TEXT_MAX, f"^{LINE}$"),
    string_schema(TEXT_MAX, rf"^{NO_CONTROL}*$", 0),
]
UnitLabel = Annotated[
    str,
    Characters(1, UNIT_LENGTH_MAX, f"^{LINE}$"),
    string_schema(UNIT_LENGTH_MAX, rf"^{NO_CONTROL}+$"),
]
Rate = Annotated[
    str,
    _OneOfForms(
        "rate",
        "A rate is a number such as 19 or 7.5, or such a string",
        _text_form(_RATE_TEXT, str),
        core_schema.no_info_plain_validator_function(lambda value: f"{_price_number(value):f}"),
    ),
    Field(pattern=_RATE_TEXT),
    _text(_RATE_TEXT, examples=["19"]),
]
LineId = Annotated[int, Field(strict=True, ge=1, le=LINE_ID_MAX)]


class Item(Body):
    """`product_id` and `price` are other names of `sku` and `unit_price`. All further keys are kept
    as the line's attributes (strings, at most 20), like the members of `attributes`."""

    model_config = ConfigDict(extra="allow")
    _OTHER_NAMES: ClassVar[Mapping[str, str]] = {"product_id": "sku", "price": "unit_price"}
    _NAMES: ClassVar[frozenset[str]] = frozenset(
        (
            *("sku", "name", "quantity", "unit_price", "unit", "discount", "tax", "tax_rate"),
            *("tax_name", "attributes", *_OTHER_NAMES),
        )
    )

    sku: ShortText | None = None
    name: ShortText | None = None
    quantity: Quantity = 1
    unit: UnitLabel | None = Field(None, description="What `quantity` counts, such as g or m.")
    unit_price: Price | None = Field(
        None, description="For one unit; at most 6 digits more than the currency has."
    )
    discount: Price | None = Field(None, description="Off the price of all units of the item.")
    tax: Price | None = Field(None, description="On all units of the item; recorded as sent.")
    tax_rate: Rate | None = Field(None, description="In percent; recorded as sent.")
    tax_name: ShortText | None = None
    given_attributes: dict[ShortText, AttributeText] = Field(
        default_factory=dict, alias="attributes", max_length=ATTRIBUTES_MAX
    )

    @model_validator(mode="before")
    @classmethod
    def _use_first_names(cls, value: Any) -> Any:
        """Replaces other names and checks the number of attributes: both concern a whole item."""
        if not isinstance(value, dict):
            return value
        given = value.get("attributes")
        count = len(value) + (len(given) if isinstance(given, dict) else 0)
        if count > ATTRIBUTES_MAX or given is not None:
            cls._check_attributes(value, given if isinstance(given, dict) else {})
        if cls._OTHER_NAMES.keys().isdisjoint(value):
            return value
        renamed = dict(value)
        for other, name in cls._OTHER_NAMES.items():
            if other in renamed:
                if name in renamed:
                    raise PydanticCustomError("two_names", f"Send {name} or {other}, not both")
                renamed[name] = renamed.pop(other)
        return renamed

    @classmethod
    def _check_attributes(cls, value: dict[str, Any], given: dict[str, Any]) -> None:
        further = value.keys() - cls._NAMES
        if len(further) + len(given) > ATTRIBUTES_MAX:
            raise PydanticCustomError("attributes", "An item has at most 20 attributes")
        if further & given.keys():
            raise PydanticCustomError("attributes", "Give each attribute once")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Names attributes as answers do, since a client needs one way: that further members are
        attributes, too, only a pattern says, from which no generator makes members. The other names
        of members are left out."""
        schema = handler.resolve_ref_schema(handler(core))
        names = {"minLength": 1, "maxLength": TEXT_MAX, "pattern": rf"^{NO_CONTROL}+$"}
        texts = schema.pop("additionalProperties")
        schema["properties"]["attributes"] = {
            "type": "object",
            "maxProperties": ATTRIBUTES_MAX,
            "propertyNames": names,
            "additionalProperties": texts,
        }
        schema["properties"]["quantity"]["default"] = "1"
        schema["propertyNames"] = names | {"not": {"enum": [*cls._OTHER_NAMES]}}
        schema["patternProperties"] = {f"^(?!({'|'.join(sorted(cls._NAMES))})$)": texts}
        return schema

    @property
    def attributes(self) -> dict[str, str]:
        return (self.__pydantic_extra__ or {}) | self.given_attributes

    @property
    def has_prices(self) -> bool:
        return not (self.unit_price is None and self.discount is None and self.tax is None)

    def line(self, line_id: int, currency: str) -> OrderLine:
        """Raises `InvalidRequest` for an amount with more digits than it may have."""
        price, scale = None, 0
        if self.unit_price is not None:
            price, scale = money.to_fine_minor(self.unit_price, currency)
        return OrderLine(
            line_id,
            self.sku,
            self.name,
            self.quantity,
            price,
            self.attributes,
            self.unit,
            scale,
            minor_or_zero(self.discount, currency),
            0,
            minor_or_zero(self.tax, currency),
            self.tax_rate,
            self.tax_name,
        )

    __pydantic_extra__: dict[ShortText, AttributeText]


class LineUnits(Body):
    line_id: LineId
    quantity: Quantity


Lines = Annotated[list[LineUnits], Field(min_length=1, max_length=LINES_MAX)]


def quantities(lines: list[LineUnits]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line.line_id, line.quantity) for line in lines)


def minor(price: Decimal | None, order: FoldedOrder) -> int | None:
    """Minor units. Raises `InvalidRequest` for more digits than the order's currency has."""
    return None if price is None else money.to_minor(price, order.order.currency)


def minor_or_zero(price: Decimal | None, currency: str) -> int:
    """Raises `InvalidRequest` for more digits than the currency has."""
    return 0 if price is None else money.to_minor(price, currency)


def free_text(kind: str, text: str | None) -> tuple[UUID | None, tuple[OrderText, ...]]:
    """The id of a text that is stored outside the events, and the text, if there is one."""
    if text is None:
        return None, ()
    order_text = OrderText(uuid4(), kind, text)
    return order_text.text_id, (order_text,)


# --- path parameters ------------------------------------------------------------------------------

# Plain strings, so that a malformed id is a 404 like an unknown one, after the other checks.
PartPath = Annotated[
    str,
    Path(
        description="The part's id in the order's document.", json_schema_extra={"format": "uuid"}
    ),
]
LinePath = Annotated[str, Path(description="A line_id of the order's items.", examples=["1"])]


def part_id(path: str) -> UUID:
    """The id of a payment, shipment, refund or return. Raises NotFound for a malformed id."""
    uuid = parse_uuid(path)
    if uuid is None:
        raise NotFound("not-found", "The order has no part with this id: read the order again.")
    return uuid


def line_id_of(path: str) -> int:
    """Raises NotFound for a malformed line_id."""
    if not _LINE_ID.fullmatch(path) or int(path) > LINE_ID_MAX:
        raise NotFound("line-not-found", "The order has no such line: read the order again.")
    return int(path)
