"""What the operators' desk is told: models for the OpenAPI document. May import documents."""

from typing import Literal

from pydantic import Field

from order_service.api.documents import Amount, Document, Id, Instant
from order_service.domain.state import FulfillmentStatus, PaymentStatus, Status


class Card(Document):
    id: Id
    number: str
    user_id: Id
    customer: str | None = Field(description="The customer's e-mail address.")
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    total_price: Amount
    currency: str
    version: int
    created_at: Instant
    updated_at: Instant
    flags: list[Literal["credit_due", "return_open", "refund_failed"]] = Field(
        description="What waits for somebody: money due back to the customer, a return to decide "
        "on or to receive, a last refund that failed."
    )


class ColumnTotal(Document):
    currency: str
    amount: Amount


class BoardColumn(Document):
    status: Status
    count: int
    totals: list[ColumnTotal]
    oldest_at: Instant | None = Field(description="When its oldest order was placed.")


class Board(Document):
    token: str = Field(description="`since` of `/ops/board/stream`.")
    columns: list[BoardColumn] = Field(description="One a status, empty ones too.")
    cards: list[Card]
    more: bool = Field(description="There are more orders than cards.")
