"""Order Service: orders as events, from one log."""

import sys

# redis-py imports OpenTelemetry's SDK wherever it is installed, for metrics that nobody here asks
# it for: 100 ms and 3 MB of each process. It takes this for "not installed"; where tracing is on,
# `telemetry.tracing` takes it back.
sys.modules.setdefault("opentelemetry.sdk.metrics", None)  # type: ignore[arg-type]  # may be None
