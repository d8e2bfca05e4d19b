"""The message of an event, for every program that consumes from RabbitMQ.

Body (JSON): `event`, `order_id`, `version`, `partition`, `position`, `occurred_at` and `data`: the
payload as stored, never upcast, so that no old event can stop the relay.

Headers: CloudEvents 1.0 in binary mode. AMQP 0-9-1 has no binding, so this follows the one for
AMQP 1.0, to which RabbitMQ maps headers. It names an attribute `cloudEvents:<attribute>`:

| attribute | value |
| --- | --- |
| id | the event's id, the same each time it is published; also the property `message_id` |
| source | `/order-service/partitions/<partition>`: in it, positions are dense and in order |
| type | `org.order-service.<noun>.<past tense>.v<schema version of the payload>` |
| subject, partitionkey | the order's id: all events of an order are in one partition |
| sequence | the position, zero-padded, so that it sorts as text |
| time | when the event was recorded |

The property `content_type` is `datacontenttype`. The property `correlation_id` is the id of the
request that caused the event. The header `traceparent` (W3C) is present if the command had one.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import orjson
from pamqp.commands import Basic

from order_service.errors import UnreadableEvent
from order_service.ids import time_text
from order_service.log.codec import StoredEvent, decode_metadata
from order_service.telemetry import tracing

CONTENT_TYPE = "application/json"
PERSISTENT = 2
_NAMES = {"OrderPlaced": "new_order"}  # published names that differ from the type


@dataclass(frozen=True, slots=True)
class Message:
    routing_key: str
    body: bytes
    properties: Basic.Properties


@cache
def event_name(event_type: str) -> str:
    """The published name of an event type: `new_order` for OrderPlaced, else in snake case."""
    return _NAMES.get(event_type) or _snake_case(event_type)


def routing_key(event_type: str) -> str:
    return f"order.{event_name(event_type)}"


@cache
def cloud_event_type(event_type: str, schema_version: int) -> str:
    noun, _, happened = _snake_case(event_type).rpartition("_")
    return f"org.order-service.{noun}.{happened}.v{schema_version}"


def content(stored: StoredEvent) -> bytes:
    """The message's body."""
    return orjson.dumps(
        {
            "event": event_name(stored.type),
            "order_id": str(stored.stream_id),
            "version": stored.version,
            "partition": stored.partition,
            "position": stored.position,
            "occurred_at": recorded_text(stored.recorded_at),
            "data": orjson.Fragment(stored.data),
        }
    )


@lru_cache(64)  # all events of one append have the same time
def recorded_text(at: datetime) -> str:
    return time_text(at)


def request_and_trace(stored: StoredEvent) -> tuple[str | None, str | None]:
    """The command's request id and trace context. None for what is absent or unreadable: no event
    may stop the relay."""
    with suppress(UnreadableEvent):
        metadata = decode_metadata(stored)
        return _short(metadata.correlation_id), _short(metadata.traceparent)
    return None, None


def trace_events(
    name: str, kind: tracing.Kind, began: float, events: Iterable[StoredEvent]
) -> None:
    """Records a span from `began` until now for each event, in the trace of its command."""
    for stored in events:
        _, trace = request_and_trace(stored)
        if trace is not None:
            order_id, version = str(stored.stream_id), stored.version
            tracing.record(name, kind, trace, began, order__id=order_id, order__version=version)


def _short(value: object) -> str | None:
    """`value`, or None if it does not fit into a property or header."""
    return value if isinstance(value, str) and value.isascii() and len(value) < 256 else None


def to_message(stored: StoredEvent) -> Message:
    order_id = str(stored.stream_id)
    headers: dict[str, Any] = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(stored.event_id),
        "cloudEvents:source": f"/order-service/partitions/{stored.partition}",
        "cloudEvents:type": cloud_event_type(stored.type, stored.schema_version),
        "cloudEvents:subject": order_id,
        "cloudEvents:partitionkey": order_id,
        "cloudEvents:sequence": f"{stored.position:019d}",
        "cloudEvents:time": recorded_text(stored.recorded_at),
    }
    request_id, trace = request_and_trace(stored)
    if trace:
        headers["traceparent"] = trace
    properties = Basic.Properties(
        content_type=CONTENT_TYPE,
        correlation_id=request_id,
        delivery_mode=PERSISTENT,
        headers=headers,
        message_id=str(stored.event_id),
    )
    return Message(routing_key(stored.type), content(stored), properties)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
