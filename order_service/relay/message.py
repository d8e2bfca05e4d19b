"""An event as a message, for every program that listens to RabbitMQ.

Body (JSON): `event`, `order_id`, `version`, `partition`, `position`, `occurred_at` and `data`, the
payload as it is stored, never upcast, so that no old event can stop the relay.

Headers: CloudEvents 1.0 in binary mode. There is no binding for AMQP 0-9-1; this is the one for
AMQP 1.0, which names an attribute `cloudEvents:<attribute>` and to which RabbitMQ maps headers:

| attribute | value |
| --- | --- |
| id | the event's id, the same however often it is published; also the property `message_id` |
| source | `/order-service/partitions/<partition>`: inside it positions are dense and in order |
| type | `org.order-service.<noun>.<past tense>.v<schema version of the payload>` |
| subject, partitionkey | the order's id: events of one order belong in one place |
| sequence | the position, zero-padded, so that it sorts as text |
| time | when it was recorded |

`datacontenttype` is the property `content_type`, and `correlation_id` the id of the request that
was answered by the event. `traceparent` (W3C) is there if the command had one.
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
_NAMES = {"OrderPlaced": "new_order"}  # what the outside calls it


@dataclass(frozen=True, slots=True)
class Message:
    routing_key: str
    body: bytes
    properties: Basic.Properties


@cache
def event_name(event_type: str) -> str:
    """The event's name outside: `new_order`, else the type in snake case."""
    return _NAMES.get(event_type) or _snake_case(event_type)


def routing_key(event_type: str) -> str:
    return f"order.{event_name(event_type)}"


@cache
def cloud_event_type(event_type: str, schema_version: int) -> str:
    noun, _, happened = _snake_case(event_type).rpartition("_")
    return f"org.order-service.{noun}.{happened}.v{schema_version}"


def content(stored: StoredEvent) -> bytes:
    """The body."""
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


@lru_cache(64)  # the events of one append have one time
def recorded_text(at: datetime) -> str:
    return time_text(at)


def origin(stored: StoredEvent) -> tuple[str | None, str | None]:
    """Request id and trace context of the command, if it had them and they can be read: no event
    stops the relay."""
    with suppress(UnreadableEvent):
        metadata = decode_metadata(stored)
        return _short(metadata.correlation_id), _short(metadata.traceparent)
    return None, None


def trace_events(
    name: str, kind: tracing.Kind, began: float, events: Iterable[StoredEvent]
) -> None:
    """What was done with each of these, from `began` to now, is a span of its command's trace."""
    for stored in events:
        _, trace = origin(stored)
        if trace is not None:
            order_id, version = str(stored.stream_id), stored.version
            tracing.record(name, kind, trace, began, order__id=order_id, order__version=version)


def _short(value: object) -> str | None:
    """None for what no property or header takes."""
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
    request_id, trace = origin(stored)
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
