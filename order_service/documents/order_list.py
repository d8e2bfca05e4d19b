"""A page of order summaries."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET

from order_service.documents.shape import Amount, Document, Instant, Sometimes, means
from order_service.domain.state import FulfillmentStatus, PaymentStatus, Status


class OrderSummary(Document):
    id: UUID
    number: str
    user_id: UUID | None
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
    relation: Annotated[
        Literal["eq", "gte"], means("`eq`: the count is exact; `gte`: counting stopped at `count`.")
    ]


class OrderPage(Document):
    items: list[OrderSummary]
    next_cursor: str | None
    prev_cursor: str | None
    has_more: bool
    total: Sometimes[Annotated[Total, means("Present with `include=total`.")]] = UNSET
