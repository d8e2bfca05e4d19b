"""What answers look like: models for the OpenAPI document.

Documentation only: `representation.py` writes the bytes, and nothing that is served passes through
these. The tests hold the two together.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from order_service.domain.events import CancelReason, NoteVisibility, RefundCause, ReturnReason
from order_service.domain.state import (
    FulfillmentStatus,
    PaymentStatus,
    RefundStatus,
    ReturnStatus,
    Status,
)

Amount = Annotated[
    str,
    Field(
        pattern=r"^[0-9]+(\.[0-9]+)?$",
        description="In the order's currency, with all of its decimals.",
        examples=["24.98"],
    ),
]
Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Instant = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339, in UTC, with microseconds.",
        }
    ),
]
Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date", "description": "In UTC."})]


class Document(BaseModel):
    """Every member is always there, but for `sometimes`; later releases may add some."""

    model_config = ConfigDict(frozen=True)


def sometimes(description: str | None = None) -> Any:
    """A member that is left out where it does not apply."""

    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default")

    return Field(default=None, description=description, json_schema_extra=without_default)


# --- accounts -------------------------------------------------------------------------------------


class User(Document):
    id: Id
    email: str
    role: Literal["customer", "staff", "admin"]
    created_at: Instant


class Tokens(Document):
    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="Seconds for which the access token is good.")


class Revoked(Document):
    """Empty: that there is nothing to say about the token is on purpose (RFC 7009)."""


# --- an order -------------------------------------------------------------------------------------


class LineQuantity(Document):
    line_id: int
    quantity: int


class OrderLine(Document):
    line_id: int = Field(description="Given to a line once, and never to another one.")
    sku: str
    name: str | None
    quantity: int = Field(description="As ordered; `canceled` of them do not count any more.")
    unit_price: Amount | None = Field(description="null in an order with an agreed total.")
    canceled: int
    shipped: int
    delivered: int
    returned: int
    attributes: dict[str, str] = Field(description="The item's other keys, as they were sent.")


class Payment(Document):
    id: Id
    kind: str = Field(description="`authorization` or `capture`.")
    authorized: Amount
    open: Amount = Field(description="What can still be captured of an authorization.")
    captured: Amount
    source: str | None = Field(description="`manual` or `provider`.")
    method: str | None
    provider_reference: str | None
    expires_at: Instant | None
    failure_code: str | None


class Shipment(Document):
    id: Id
    lines: list[LineQuantity]
    carrier: str | None
    tracking_number: str | None
    dispatched_at: Instant
    delivered_at: Instant | None
    voided: bool


class Refund(Document):
    id: Id
    status: RefundStatus
    amount: Amount
    cause: RefundCause
    reason: str
    payment_id: Id | None
    provider_reference: str | None
    failure_code: str | None


class ReturnedLine(LineQuantity):
    received: int


class Return(Document):
    id: Id
    status: ReturnStatus
    reason: ReturnReason
    lines: list[ReturnedLine]


class Order(Document):
    """An order, the same for every caller: a pure function of its events up to `version`."""

    id: Id
    number: str = Field(
        description="For people; every {order_id} takes it too.", examples=["A-100042-7"]
    )
    user_id: Id = Field(description="Whose order it is.")
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    allowed_transitions: list[Status] = Field(description="By state alone, whoever asks.")
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    total_price: Amount
    shipping_fee: Amount
    discount: Amount
    authorized: Amount = Field(description="Promised by payments, and not captured yet.")
    captured: Amount
    refunded: Amount
    refund_pending: Amount
    amount_due: Amount
    credit_due: Amount = Field(description="Owed to the customer.")
    items: list[OrderLine]
    payments: list[Payment]
    shipments: list[Shipment]
    refunds: list[Refund]
    returns: list[Return]
    external_reference: str | None
    cancel_reason: CancelReason | None
    version: int = Field(description="How many events the order has; the ETag.")
    created_at: Instant
    updated_at: Instant


class DryRun(Document):
    """What a dry run would have made: nothing of it is stored."""

    order: "PreviewedOrder"
    events: list["PreviewedEvent"]


class PreviewedOrder(Order):
    # The log gives them to an order that is placed.
    id: Id | None  # type: ignore[assignment]
    number: str | None  # type: ignore[assignment]


EventData = Annotated[
    dict[str, Any],
    Field(description="The event's own members; amounts are texts in the order's currency."),
]


class PreviewedEvent(Document):
    type: str
    version: int
    data: EventData


# --- many at once ---------------------------------------------------------------------------------


class BulkResult(Document):
    """`status` is the HTTP status that this order alone would have got: 201 with its id, number and
    version; 200 with its preview, in a dry run; or that of its problem."""

    index: int = Field(description="The order's place in the request, from 0.")
    status: int
    id: Id = sometimes()
    number: str = sometimes()
    version: int = sometimes()
    order: PreviewedOrder = sometimes()
    events: list[PreviewedEvent] = sometimes()
    problem: dict[str, Any] = sometimes("The problem document.")


class BulkResults(Document):
    results: list[BulkResult]


# --- what may be done -----------------------------------------------------------------------------


class Reason(Document):
    type: str = Field(description="The problem type that the request would be answered with.")
    detail: str


class Action(Document):
    name: str = Field(description="The operation's id in this document.")
    method: str
    path: str
    allowed: bool
    body: dict[str, str] = sometimes("What makes the request this action.")
    until: Instant = sometimes("When time closes it.")
    reason: Reason = sometimes("Of a refusal.")


class Actions(Document):
    actions: list[Action]


# --- history --------------------------------------------------------------------------------------


class Actor(Document):
    type: str = Field(description="`user`, `staff` or `system`.")
    id: Id = sometimes("Not shown to owners where it was not a user.")


class Event(Document):
    version: int
    type: str
    at: Instant
    event_id: Id
    actor: Actor = sometimes()
    correlation_id: str = sometimes("The id of the request behind it.")
    data: EventData | None
    unreadable: bool = sometimes("true: the running version cannot read it, `data` is null.")


class Events(Document):
    events: list[Event]
    next_after_version: int | None = Field(description="`after_version` of the next page.")


class Change(Document):
    pointer: str = Field(description="JSON pointer (RFC 6901) into the order's document.")
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")


class Diff(Document):
    before: int = Field(alias="from")
    after: int = Field(alias="to")
    changes: list[Change]


class Note(Document):
    id: Id
    kind: str | None = Field(description="What it was written with; null once it is erased.")
    visibility: NoteVisibility
    text: str | None = Field(description="null once it is erased.")
    at: Instant
    version: int
    actor: Actor


class Address(Document):
    name: str
    company: str | None
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None


# --- lists and reports ----------------------------------------------------------------------------


class OrderSummary(Document):
    id: Id
    number: str
    user_id: Id
    external_reference: str | None
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    currency: str
    total_price: Amount
    amount_due: Amount
    credit_due: Amount
    lines: int
    units: int
    version: int
    created_at: Instant
    updated_at: Instant


class Total(Document):
    count: int
    relation: Literal["eq", "gte"] = Field(description="`gte`: counting stopped there.")


class OrderPage(Document):
    items: list[OrderSummary]
    next_cursor: str | None
    prev_cursor: str | None
    has_more: bool
    total: Total = sometimes("With include=total.")


class CurrencySummary(Document):
    currency: str
    orders: int
    spent: Amount = Field(description="Captured, less what is or will be refunded.")
    last_order_at: Instant
    last_order_id: Id


class UserSummary(Document):
    user_id: Id
    currencies: list[CurrencySummary]


class Sales(Document):
    day: Day
    currency: str
    status: Status
    orders: int
    revenue: Amount
    units: int


class SalesReport(Document):
    first: Day = Field(alias="from")
    last: Day = Field(alias="to")
    sales: list[Sales]


class StreamTicket(Document):
    ticket: str
    expires_in: int = Field(description="Seconds for which it is good, once.")
