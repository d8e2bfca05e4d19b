"""Sales: a user's summary, the report by day, the operators' overview."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from msgspec import field
from pydantic import WithJsonSchema

from order_service.documents.shape import Amount, Document, Instant, means
from order_service.domain.events import CancelReason
from order_service.domain.state import Status

Day = Annotated[
    date, WithJsonSchema({"type": "string", "format": "date", "description": "A day in UTC."})
]


class CurrencySummary(Document):
    currency: str
    orders: int
    spent: Annotated[Amount, means("The captured amount minus completed and pending refunds.")]
    last_order_at: Instant
    last_order_id: UUID


class UserSummary(Document):
    user_id: UUID
    currencies: list[CurrencySummary]


class Sales(Document):
    day: Day
    currency: str
    status: Status
    orders: int
    revenue: Amount
    units: int


class SalesReport(Document):
    first: Day = field(name="from")
    last: Day = field(name="to")
    sales: list[Sales]


class SalesPoint(Document):
    at: Instant
    orders: int
    revenue: Annotated[Amount, means("The captured amount minus completed and pending refunds.")]


class Funnel(Document):
    placed: int
    paid: int
    shipped: Annotated[int, means("Orders that shipped at least in part.")]
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
    series: Annotated[list[SalesPoint], means("Hours or days without orders are left out.")]
    funnel: Funnel
    place_to_pay_s: Percentiles
    pay_to_ship_s: Percentiles
    cancel_reasons: Annotated[list[CancelReasonCount], means("The most frequent first.")]
    refund_rate: float | None


class SalesOverview(Document):
    first: Instant = field(name="from")
    end: Instant = field(name="to")
    by: Literal["hour", "day"]
    currencies: list[SalesOfCurrency]
