"""What the operators' desk is told: models for the OpenAPI document."""

from typing import Literal

from pydantic import Field

from order_service.documents.schemas import Amount, Document, Id, Instant
from order_service.domain.events import CancelReason
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


class SalesPoint(Document):
    at: Instant
    orders: int
    revenue: Amount = Field(description="Captured, less what is or will be refunded.")


class Funnel(Document):
    placed: int
    paid: int
    shipped: int = Field(description="At least in part.")
    delivered: int
    canceled: int


class Percentiles(Document):
    p50: int | None
    p90: int | None


class CancelReasonCount(Document):
    reason: CancelReason
    orders: int


class SalesOfCurrency(Document):
    currency: str
    series: list[SalesPoint] = Field(description="Without hours or days that have no orders.")
    funnel: Funnel
    place_to_pay_s: Percentiles
    pay_to_ship_s: Percentiles
    cancel_reasons: list[CancelReasonCount] = Field(description="The most frequent first.")
    refund_rate: float | None


class SalesOverview(Document):
    first: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    by: Literal["hour", "day"]
    currencies: list[SalesOfCurrency]
