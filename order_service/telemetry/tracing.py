"""Tracing with OpenTelemetry, which is off unless OTEL_EXPORTER_OTLP_ENDPOINT is set.

A trace passes from process to process as a W3C traceparent: in a request's header, the metadata of
its events, and the headers of messages and tasks. Inside a process it is in `logs.TRACEPARENT`, so
log lines and problem documents have the trace id. A client's traceparent is passed on even while
tracing is off. OpenTelemetry's packages (17 MB of memory, half a second) are imported only while
tracing is on; the SDK reads its other settings from the OTEL_* environment.
"""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from order_service import limits
from order_service.settings import Settings
from order_service.telemetry import logging as logs

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

logger = logging.getLogger(__name__)

Kind = Literal["INTERNAL", "SERVER", "PRODUCER", "CONSUMER"]
Attribute = str | int | UUID
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_OFF: AbstractContextManager[None] = nullcontext()
_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def traceparent_of(field: str | None) -> str | None:
    """The header's value if it is valid in W3C Trace Context version 00, otherwise None."""
    return field if field and _TRACEPARENT.fullmatch(field) else None


def trace_id() -> str | None:
    """The id of the current trace, if there is one."""
    traceparent = logs.TRACEPARENT.get()
    return None if traceparent is None else traceparent[3:35]


def is_on() -> bool:
    return _tracer is not None


def start(settings: Settings, role: str) -> None:
    """Starts tracing in this process if it is configured. Call it after a fork, not before: the
    exporter has a thread."""
    global _provider, _tracer  # noqa: PLW0603  # one per process, like OpenTelemetry's
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource({"service.name": f"order-service-{role}", "service.role": role})
    _provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("order_service")


def stop() -> None:
    """Stops tracing; sends the remaining spans if the collector accepts them in TRACES_FLUSH_S."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        # In a daemon thread, since the exporter retries while the collector is unreachable.
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(limits.TRACES_FLUSH_S)


def span(
    name: str, kind: Kind = "INTERNAL", parent: str | None = None, **attributes: Attribute
) -> "AbstractContextManager[Span | None]":
    """The block is a span in the trace of `parent`, or in the current trace; only a request (kind
    SERVER) starts a new trace. A `__` in an attribute's name becomes a dot.

    While tracing is off, a block with a parent still has the parent's trace id."""
    if _tracer is not None and (parent or kind == "SERVER" or logs.TRACEPARENT.get()):
        return _spanning(_tracer, name, kind, parent, attributes)
    return _OFF if parent is None else _continuing(parent)


def answered(current: "Span", method: str, route: str, status: int) -> None:
    """Sets a request's span name and status, which are known only after routing."""
    current.update_name(f"{method} {route}")
    current.set_attribute("http.route", route)
    current.set_attribute("http.response.status_code", status)
    if status >= 500:
        _failed(current, str(status))


def record(name: str, kind: Kind, parent: str, began: float, **attributes: Attribute) -> None:
    """Records a span that ends now. `began`: its start by `time.time`, in seconds."""
    if _tracer is not None:
        _tracer.start_span(
            name,
            _context(parent),
            _kind(kind),
            _dotted(attributes),
            start_time=int(began * 1e9),
        ).end()


@contextmanager
def _continuing(parent: str) -> Iterator[None]:
    before = logs.TRACEPARENT.set(parent)
    try:
        yield
    finally:
        logs.TRACEPARENT.reset(before)


@contextmanager
def _spanning(
    tracer: "Tracer",
    name: str,
    kind: Kind,
    parent: str | None,
    attributes: Mapping[str, Attribute],
) -> "Iterator[Span]":
    context = _context(parent or logs.TRACEPARENT.get())
    current = tracer.start_span(name, context, _kind(kind), _dotted(attributes))
    found = current.get_span_context()
    text = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"
    try:
        with _continuing(text):
            yield current
    except Exception as error:  # only its kind: the message may contain personal data
        _failed(current, type(error).__name__)
        raise
    finally:
        current.end()


def _failed(current: "Span", why: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    current.set_status(StatusCode.ERROR, why)


def _context(parent: str | None) -> "Context":
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.context import Context  # noqa: PLC0415

    found = _TRACEPARENT.fullmatch(parent) if parent else None
    if found is None:
        return Context()
    id_, span_id, flags = (int(text, 16) for text in found.groups())
    remote = trace.SpanContext(id_, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())


def _kind(kind: Kind) -> "SpanKind":
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    return SpanKind[kind]


def _dotted(attributes: Mapping[str, Attribute]) -> dict[str, str | int]:
    return {
        name.replace("__", "."): str(value) if isinstance(value, UUID) else value
        for name, value in attributes.items()
    }
