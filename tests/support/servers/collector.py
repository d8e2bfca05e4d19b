"""An OpenTelemetry collector for tests: it accepts OTLP over HTTP, as exporters send it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.waiting import WAIT_S


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]


@dataclass
class Collector:
    url: str
    spans: list[Span] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body: bytes) -> None:
        with self._arrived:
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self._arrived.notify_all()

    def until(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """All spans received so far, once `enough` accepts them or WAIT_S is over."""
        with self._arrived:
            self._arrived.wait_for(lambda: enough(self.spans), WAIT_S)
            return list(self.spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_compressed = self.headers.get("Content-Encoding") == "gzip"
            assert self.path == "/v1/traces"
            collector.take(decompress(body) if is_compressed else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                yield Span(
                    *(resource["service.name"], span.name, span.trace_id.hex(), span.span_id.hex()),
                    span.parent_span_id.hex(),
                    {a.key: a.value.string_value or a.value.int_value for a in span.attributes},
                )
