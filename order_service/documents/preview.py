"""What a dry run would do, and the results of many orders."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET
from pydantic import WithJsonSchema

from order_service.documents.event import EventData
from order_service.documents.order import Order
from order_service.documents.shape import Document, Sometimes, means

_PROBLEM = WithJsonSchema(
    {"type": "object", "additionalProperties": True, "description": "The problem document."}
)


class PreviewedOrder(Order):
    # The log gives them to an order that is placed.
    id: UUID | None  # type: ignore[assignment]
    number: str | None  # type: ignore[assignment]


class PreviewedEvent(Document):
    type: str
    version: int
    data: EventData


class DryRun(Document):
    """What a dry run would have made: nothing of it is stored."""

    order: PreviewedOrder
    events: list[PreviewedEvent]


class BulkResult(Document):
    """`status` is the HTTP status that this order alone would have got: 201 with its id, number and
    version; 200 with its preview, in a dry run; or that of its problem."""

    index: Annotated[int, means("The order's place in the request, from 0.")]
    status: int
    id: Sometimes[UUID] = UNSET
    number: Sometimes[str] = UNSET
    version: Sometimes[int] = UNSET
    order: Sometimes[PreviewedOrder] = UNSET
    events: Sometimes[list[PreviewedEvent]] = UNSET
    # Raw: its bytes are there already.
    problem: Sometimes[Annotated[Any, _PROBLEM]] = UNSET


class BulkResults(Document):
    results: list[BulkResult]
