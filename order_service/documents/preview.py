"""The preview of a dry run, and the results of a bulk request."""

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
    # null in the preview of a new order: the log assigns them when the order is placed.
    id: UUID | None  # type: ignore[assignment]
    number: str | None  # type: ignore[assignment]


class PreviewedEvent(Document):
    type: str
    version: int
    data: EventData


class DryRun(Document):
    """The order and the events that the request would produce; nothing is stored."""

    order: PreviewedOrder
    events: list[PreviewedEvent]


class BulkResult(Document):
    """The result of one order. `status` is the HTTP status of a request for this order alone: 201
    with its id, number and version; 200 with its preview in a dry run; or that of its `problem`."""

    index: Annotated[int, means("The order's index in the request, from 0.")]
    status: int
    id: Sometimes[UUID] = UNSET
    number: Sometimes[str] = UNSET
    version: Sometimes[int] = UNSET
    order: Sometimes[PreviewedOrder] = UNSET
    events: Sometimes[list[PreviewedEvent]] = UNSET
    # Raw JSON: the problem is already encoded.
    problem: Sometimes[Annotated[Any, _PROBLEM]] = UNSET


class BulkResults(Document):
    results: list[BulkResult]
