from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

import pamqp.frame
import pytest
from aio_pika.connection import make_url
from kombu.utils.url import parse_url

from order_service.infra.rabbitmq import broker_url
from order_service.log.codec import Metadata, StoredEvent, encode_metadata
from order_service.relay.message import cloud_event_type, event_name, routing_key, to_message
from order_service.relay.publish import frames_of
from order_service.settings import Settings

ORDER = UUID("00000000-0000-7000-8000-000000000102")
EVENT = UUID("00000000-0000-7000-8000-0000000000e1")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST_ID = "0123456789abcdef0123456789abcdef"
AT = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


def metadata_of(**known: str) -> str:
    """The encoded metadata of an event whose request had these values."""
    return encode_metadata(Metadata("system", **known))


def stored(type_: str, data: str, metadata: str, schema_version: int = 1) -> StoredEvent:
    return StoredEvent(2, 41, ORDER, 3, EVENT, type_, schema_version, data, metadata, AT)


def test_the_body_is_the_event_with_its_payload_as_stored() -> None:
    message = to_message(stored("OrderPlaced", '{"a": 1.10, "é": [null]}', '["system"]'))

    assert message.body.decode() == (
        '{"event":"new_order","order_id":"00000000-0000-7000-8000-000000000102","version":3,'
        '"partition":2,"position":41,"occurred_at":"2026-03-01T12:00:00.000005Z",'
        '"data":{"a": 1.10, "é": [null]}}'
    )


def test_the_headers_are_cloud_events_in_binary_mode() -> None:
    properties = to_message(stored("OrderPaid", "{}", '["system"]', 7)).properties

    assert properties.headers == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": "00000000-0000-7000-8000-0000000000e1",
        "cloudEvents:source": "/order-service/partitions/2",
        "cloudEvents:type": "org.order-service.order.paid.v7",
        "cloudEvents:subject": "00000000-0000-7000-8000-000000000102",
        "cloudEvents:partitionkey": "00000000-0000-7000-8000-000000000102",
        "cloudEvents:sequence": "0000000000000000041",
        "cloudEvents:time": "2026-03-01T12:00:00.000005Z",
    }


def test_a_message_carries_the_request_id_and_trace_of_its_command() -> None:
    event = stored("OrderPaid", "{}", metadata_of(correlation_id=REQUEST_ID, traceparent=TRACE))

    properties = to_message(event).properties
    wire = frames_of(event, channel=5, content_max=200)

    assert properties.headers is not None
    assert (properties.correlation_id, properties.headers["traceparent"]) == (REQUEST_ID, TRACE)
    assert REQUEST_ID.encode() in wire
    assert TRACE.encode() in wire


@pytest.mark.parametrize(
    ("type_", "metadata", "data"),
    [
        ("OrderPaid", "{}", "{}"),
        ("OrderPlaced", metadata_of(traceparent=TRACE), '{"a": 1.10, "é%s": [null]}'),
        ("OrderPaid", metadata_of(traceparent="00-short"), "{}"),
        ("OrderPaid", metadata_of(correlation_id=REQUEST_ID), "{}"),
        ("OrderPaid", metadata_of(correlation_id="a-client's", traceparent=TRACE), "{}"),
        ("OrderPaid", metadata_of(correlation_id=REQUEST_ID, traceparent=TRACE), "{}"),
        ("OrderPaid", '["system",null,null,null,7,["no","text"]]', "{}"),
        ("OrderPaid", f'["system",null,null,null,"{"x" * 300}","é"]', "{}"),
        ("Odd%sType", "{}", f'"{"x" * 300}"'),
    ],
)
def test_the_frames_of_a_message_equal_those_of_pamqp(type_: str, metadata: str, data: str) -> None:
    event = stored(type_, data, metadata, 2)

    wire = frames_of(event, channel=5, content_max=200)

    found = []
    while wire:
        size, channel, frame = pamqp.frame.unmarshal(wire)
        assert channel == 5
        found.append(frame)
        wire = wire[size:]
    publish, header, *bodies = found
    message = to_message(event)
    assert (publish.exchange, publish.routing_key) == ("orders.events", message.routing_key)
    assert publish.mandatory
    assert dict(header.properties) == dict(message.properties)
    assert header.body_size == len(message.body)
    assert b"".join(body.value for body in bodies) == message.body


@pytest.mark.parametrize(
    ("type_", "name", "key", "cloud_event"),
    [
        ("OrderPlaced", "new_order", "order.new_order", "org.order-service.order.placed.v1"),
        ("OrderPaid", "order_paid", "order.order_paid", "org.order-service.order.paid.v1"),
        (
            "ExternalReferenceChanged",
            "external_reference_changed",
            "order.external_reference_changed",
            "org.order-service.external_reference.changed.v1",
        ),
    ],
)
def test_published_names_follow_from_the_event_type(
    type_: str, name: str, key: str, cloud_event: str
) -> None:
    assert event_name(type_) == name
    assert routing_key(type_) == key
    assert cloud_event_type(type_, 1) == cloud_event


def test_special_characters_in_a_password_do_not_change_the_address() -> None:
    settings = Settings(
        DB_PASSWORD="x",
        SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyz",
        RABBITMQ_HOST="::1",
        RABBITMQ_USER="us/er",
        RABBITMQ_PASSWORD="p@ss:w/o?r#d%25;[",
        RABBITMQ_VHOST="/",
    )

    for_celery = parse_url(broker_url(settings))
    for_aio_pika = make_url(
        host=settings.RABBITMQ_HOST,
        login=settings.RABBITMQ_USER,
        password=settings.RABBITMQ_PASSWORD,
        virtualhost=settings.RABBITMQ_VHOST,
    )

    assert for_celery["hostname"] == for_aio_pika.host == "::1"
    assert for_celery["userid"] == for_aio_pika.user == "us/er"
    assert for_celery["password"] == for_aio_pika.password == "p@ss:w/o?r#d%25;["
    assert for_celery["virtual_host"] == for_aio_pika.path[1:] == "/"
    assert urlsplit(broker_url(settings)).query == ""
