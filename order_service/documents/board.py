"""The operators' board."""

from typing import Annotated, Literal
from uuid import UUID

from order_service.documents.shape import Amount, Document, Instant, means
from order_service.domain.state import FulfillmentStatus, PaymentStatus, Status

Flag = Literal["credit_due", "return_open", "refund_failed", "on_hold", "self_service"]


class Card(Document):
    id: UUID
    number: str
    user_id: UUID | None
    customer: Annotated[str | None, means("The e-mail address of the customer's account.")]
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    total_price: Amount
    currency: str
    version: int
    created_at: Instant
    updated_at: Instant
    flags: Annotated[
        list[Flag],
        means(
            "What needs an operator: credit due to the customer, a return to approve or "
            "receive, a failed last refund, a hold to release, or a "
            "payment that the order's owner has recorded."
        ),
    ]


class ColumnTotal(Document):
    currency: str
    amount: Amount


class BoardColumn(Document):
    status: Status
    count: int
    totals: list[ColumnTotal]
    oldest_at: Annotated[
        Instant | None,
        means("When the column's oldest order was placed; null if the column is empty."),
    ]


class Board(Document):
    token: Annotated[str, means("The value for `since` of `/ops/board/stream`.")]
    columns: Annotated[list[BoardColumn], means("One column per status, including empty ones.")]
    more: Annotated[bool, means("true if there are more orders than cards.")]
    cards: list[Card]


class ChangedCards(Document):
    """One message of the board's stream: the cards of changed orders."""

    cards: list[Card]
