"""Sales: a user's summary, the report by day, the operators' overview."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from msgspec import field
from pydantic import WithJsonSchema

from order_service.documents.shape import Amount, Document, Instant, means
from order_service.domain.parts import CancelReason
from order_service.domain.state import Status

Day = Annotated[
    date, WithJsonSchema({"type": "string", "format": "date", "description": "A day of the shop."})
]


REVENUE = "Captured money less refunds, made and pending, and reversals; none of PENDING orders."
GROSS = "Captured money, before refunds and reversals; none of PENDING orders."
SELF_SERVICE = "What owners have set to PAID themselves: in neither `revenue` nor `gross`."


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
    revenue: Annotated[Amount, means(REVENUE)]
    gross: Annotated[Amount, means(GROSS)]
    self_service: Annotated[Amount, means(SELF_SERVICE)]
    units: int


class SalesReport(Document):
    first: Day = field(name="from")
    last: Day = field(name="to")
    time_zone: Annotated[str, means("Of the days: SHOP_TIME_ZONE.")]
    sales: list[Sales]


class SalesPoint(Document):
    at: Instant
    orders: int
    revenue: Annotated[Amount, means(REVENUE)]
    gross: Annotated[Amount, means(GROSS)]
    self_service: Annotated[Amount, means(SELF_SERVICE)]


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
    refund_rate: Annotated[
        float | None, means("The share of `gross` that is no revenue; null without captures.")
    ]


SalesStep = Literal["hour", "day"]


class SalesOverview(Document):
    first: Instant = field(name="from")
    end: Instant = field(name="to")
    by: SalesStep
    time_zone: Annotated[str, means("Of the hours and days: SHOP_TIME_ZONE.")]
    currencies: list[SalesOfCurrency]
