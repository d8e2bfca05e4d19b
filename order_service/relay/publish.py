"""Publishes a window of events in one write.

This replaces aiormq's `basic_publish`, for speed only: that marshals all headers of each message
and makes tasks and futures for it. Here pamqp marshals the frames before the body once for each
kind of event, as a template; each event fills in its values, and a window is one item of aiormq's
write queue. aiormq still processes confirms and returns, so `publish` keeps its books for each
message. Measured CPU time a message, with 200 messages a window: 34 us instead of 183 in this
process, and 86 us instead of 165 in RabbitMQ, which receives them in one piece. With 10 a window:
81 us instead of 240, and 160 instead of 310.
"""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

import pamqp.frame
from aiormq import Channel
from aiormq.abc import ChannelFrame
from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_END_CHAR
from pamqp.header import ContentHeader

from order_service.infra import failpoints, rabbitmq
from order_service.log.codec import Metadata, StoredEvent, encode_metadata
from order_service.relay.message import (
    Message,
    content,
    recorded_text,
    request_and_trace,
    to_message,
)

_TEMPLATES_MAX = 4_096
_FRAME = struct.Struct(">BHI")  # the start of every frame: type, channel, length
# Example values: the template has placeholders where they occur in marshalled frames. Each is as
# long as every real value of its kind, so that the length fields around it stay correct.
_ID = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee1")
_ORDER = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee2")
_AT = datetime(1999, 9, 9, 9, 9, 9, 999_999, UTC)
_POSITION = 8_888_888_888_888_888_888
_TRACE = "99-aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb-cccccccccccccccc-99"
_REQUEST = "bbbbbbbbbbbbbbbbaaaaaaaaaaaaaaaa"  # the service's own; a client's may be longer
_BODY_SIZE = 0x7A7A7A7A7A7A7A7A


async def publish(channel: Channel, window: Sequence[StoredEvent]) -> None:
    """Every event is routed and confirmed by RabbitMQ.

    If this raises, messages are still in flight: the caller must close the channel. No other
    message in flight on the channel may have the id of one of these events.
    """
    # A future of the channel, so that closing the channel ends it.
    confirmed = channel.create_future()
    async with channel.lock:
        confirms = cast("Any", _Confirms(confirmed, len(window)))
        frames = [frames_of(stored, channel.number, channel.max_content_size) for stored in window]
        for stored in window:
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = confirms
            channel.message_id_delivery_tag[str(stored.event_id)] = channel.delivery_tag
        await channel.write_queue.put(ChannelFrame(b"".join(frames), should_close=False))
    await failpoints.reach("relay-published")
    await confirmed
    for stored in window:
        del channel.message_id_delivery_tag[str(stored.event_id)]


class _Confirms:
    """Takes the place of the futures that aiormq keeps by delivery tag, for all messages of a
    window: `confirmed` is done with the last confirm, or fails with the first failure."""

    def __init__(self, confirmed: "asyncio.Future[None]", missing: int) -> None:
        self._confirmed = confirmed
        self._missing = missing

    def done(self) -> bool:
        return False

    def set_result(self, _: Basic.Ack) -> None:
        self._missing -= 1
        if not self._missing and not self._confirmed.done():
            self._confirmed.set_result(None)

    def set_exception(self, error: Exception) -> None:  # nacked or returned
        if not self._confirmed.done():
            self._confirmed.set_exception(error)


def frames_of(stored: StoredEvent, channel: int, content_max: int) -> bytes:
    """The AMQP frames of the event's message."""
    request_id, trace = request_and_trace(stored)
    if len(trace or _TRACE) != len(_TRACE) or len(request_id or _REQUEST) != len(_REQUEST):
        message = to_message(stored)
        return _head(message, channel, len(message.body)) + _body(
            message.body, channel, content_max
        )
    body = content(stored)
    order_id, event_id = str(stored.stream_id).encode(), str(stored.event_id).encode()
    values = {
        b"order": order_id,
        b"id": event_id,
        b"at": recorded_text(stored.recorded_at).encode(),
        b"position": b"%019d" % stored.position,
        b"trace": (trace or "").encode(),
        b"request": (request_id or "").encode(),
        b"size": len(body).to_bytes(8, "big"),
    }
    present = bool(request_id), bool(trace)
    head = _template(stored.type, stored.schema_version, stored.partition, present, channel)
    return head % values + _body(body, channel, content_max)


@lru_cache(_TEMPLATES_MAX)
def _template(
    type_: str, schema_version: int, partition: int, present: tuple[bool, bool], channel: int
) -> bytes:
    """The frames before the body of such an event, for `%` to fill in. `present`: whether the event
    has a request id, and a trace."""
    request_id, trace = (_REQUEST if present[0] else None), (_TRACE if present[1] else None)
    metadata = Metadata("system", correlation_id=request_id, traceparent=trace)
    example = StoredEvent(
        *(partition, _POSITION, _ORDER, 1, _ID, type_, schema_version, "{}"),
        *(encode_metadata(metadata), _AT),
    )
    head = _head(to_message(example), channel, _BODY_SIZE).replace(b"%", b"%%")
    for name, value in (
        (b"order", str(_ORDER).encode()),
        (b"id", str(_ID).encode()),
        (b"at", recorded_text(_AT).encode()),
        (b"position", str(_POSITION).encode()),
        (b"trace", _TRACE.encode()),
        (b"request", _REQUEST.encode()),
        (b"size", _BODY_SIZE.to_bytes(8, "big")),
    ):
        head = head.replace(value, b"%%(%b)b" % name)
    return head


def _head(message: Message, channel: int, body_size: int) -> bytes:
    publish = Basic.Publish(
        exchange=rabbitmq.EVENTS_EXCHANGE,
        routing_key=message.routing_key,
        mandatory=True,  # else RabbitMQ confirms a message that no queue receives
    )
    header = ContentHeader(properties=message.properties, body_size=body_size)
    return pamqp.frame.marshal(publish, channel) + pamqp.frame.marshal(header, channel)


def _body(body: bytes, channel: int, content_max: int) -> bytes:
    pieces = (body[start : start + content_max] for start in range(0, len(body), content_max))
    return b"".join(
        b"%b%b%b" % (_FRAME.pack(FRAME_BODY, channel, len(piece)), piece, FRAME_END_CHAR)
        for piece in pieces
    )
