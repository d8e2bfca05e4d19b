"""The list of all metrics of a process.

The code that does the work updates them. Prometheus computes rates from scrapes and keeps the
history. The labels bound the number of series, so label values are names from the code (route
templates, never paths).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

# No additional `_created` series for each metric: no query needs them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
REGISTRY: Final = CollectorRegistry()  # not the default one, which has metrics of Python too

# Buckets in seconds, for responses, appends and tasks.
SECONDS: Final = (
    *(0.00025, 0.0005),  # responses from the cache
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Buckets for batch sizes.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Labels = tuple[object, ...]
Labelled = TypeVar("Labelled", bound=MetricWrapperBase)


class Children(dict[Any, Labelled], Generic[Labelled]):
    """The children of a metric, by the value of its label or the tuple of its labels' values. The
    library's `labels()` locks and converts each value to text, most of an observation's time."""

    def __init__(
        self, metric: Callable[..., Labelled], name: str, meaning: str, *names: str, **more: Any
    ) -> None:
        super().__init__()
        self.labels = names
        self.parent = metric(name, meaning, names, registry=REGISTRY, **more)

    def describe(self) -> Iterable[Metric]:
        """The family, without samples."""
        return self.parent.describe()

    def __missing__(self, labels: object) -> Labelled:
        values = labels if isinstance(labels, tuple) else (labels,)
        child = self[labels] = self.parent.labels(*values)
        return child


class Observable(Collector):
    """A current value: each scrape calls `read`, which maps label values to numbers. An empty
    mapping leaves the metric out: `0` would be wrong for a process that has no streams at all.
    `labels`: the label names."""

    def __init__(
        self,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        meaning: str,
        *names: str,
    ) -> None:
        self.labels = names
        self.read: Callable[[], Mapping[Labels, float]] = dict
        self._family, self._name, self._meaning = family, name, meaning
        REGISTRY.register(self)

    def reads(self, read: Callable[[], float]) -> None:
        """Sets the function that returns the value, for a metric without labels."""
        self.read = lambda: {(): read()}

    def describe(self) -> list[Metric]:
        """The family, without samples."""
        return [self._family(self._name, self._meaning, labels=self.labels)]

    def collect(self) -> list[Metric]:
        """The family with its current samples."""
        family = self._family(self._name, self._meaning, labels=self.labels)
        for labels, value in self.read().items():
            family.add_metric([str(label) for label in labels], value)
        return [family]


class _Process(ProcessCollector):
    """Process metrics without the virtual memory, which does not show the memory in use."""

    def collect(self) -> Iterable[Metric]:
        return [one for one in super().collect() if one.name != "process_virtual_memory_bytes"]


def observation_count(histogram: Histogram) -> int:
    """The number of observation_count values, over all labels."""
    (family,) = histogram.collect()
    return int(sum(one.value for one in family.samples if one.name.endswith("_count")))


# --- web ------------------------------------------------------------------------------------------
HTTP_SECONDS = Children(
    Histogram,
    "order_service_http_request_seconds",
    "Time from a request's head to the start of its response, by route template.",
    "method",
    "route",
    "status",
    buckets=SECONDS,
)
HTTP_PROBLEMS = Children(
    Counter,
    "order_service_http_problems_total",
    "Responses that are problem documents, by the slug of their type.",
    "method",
    "route",
    "problem",
)
HTTP_IN_PROGRESS = Observable(
    GaugeMetricFamily,
    "order_service_http_requests_in_work",
    "Requests in progress.",
    "group",
)
LIMITS_HIT = Children(
    Counter,
    "order_service_limits_hit_total",
    "Requests that a rate limit refused, by its policy.",
    "policy",
)
STREAMS_OPEN = Observable(GaugeMetricFamily, "order_service_streams_open", "Open event streams.")
READS = Children(
    Counter,
    "order_service_cache_reads_total",
    "Reads by result of the cache: hit, miss, or bypass if the cache was not used.",
    "what",
    "cache",
)
REPLAYS = Counter(
    "order_service_idempotent_replays_total",
    "Repeated commands that got the first response again.",
    registry=REGISTRY,
)
STALE_KEYS = Observable(
    GaugeMetricFamily,
    "order_service_cache_stale_keys",
    "Changed cache entries that are not yet updated in Redis after a failure.",
)

# --- the append -----------------------------------------------------------------------------------
APPEND_SECONDS = Histogram(
    "order_service_append_seconds",
    "Time of an append's round trip to the database.",
    buckets=SECONDS,
    registry=REGISTRY,
)
APPEND_COMMANDS = Histogram(
    "order_service_append_batch_commands",
    "Commands per append.",
    buckets=SIZES,
    registry=REGISTRY,
)
APPENDS = Children(
    Counter,
    "order_service_append_commands_total",
    "Commands by the outcome of their append: stored, or the error's code "
    "(concurrent-update: a version conflict).",
    "outcome",
)
APPEND_QUEUE = Observable(
    GaugeMetricFamily, "order_service_append_queue", "Commands that wait for an append."
)

# --- relay, consumer, worker ----------------------------------------------------------------------
RELAYED = Counter(
    "order_service_relay_events_total",
    "Events that RabbitMQ has confirmed to the relay.",
    registry=REGISTRY,
)
RELAY_SECONDS = Histogram(
    "order_service_relay_window_seconds",
    "Time to publish a window of events to RabbitMQ, confirms included.",
    buckets=SECONDS,
    registry=REGISTRY,
)
SESSIONS = Children(
    Counter,
    "order_service_broker_sessions_failed_total",
    "Sessions with RabbitMQ that ended with an error.",
    "role",
)
HINTS = Counter(
    "order_service_consumer_hints_total",
    "Messages that the consumer turned into tasks.",
    registry=REGISTRY,
)
TASKS_SENT = Children(
    Counter, "order_service_tasks_sent_total", "Tasks sent to the workers.", "task"
)
TASK_SECONDS = Children(
    Histogram,
    "order_service_task_seconds",
    "Duration of a task.",
    "task",
    "outcome",
    buckets=SECONDS,
)
PROJECTED = Children(
    Counter, "order_service_projected_events_total", "Events applied, by projection.", "projection"
)
LAG_EVENTS = Observable(
    GaugeMetricFamily,
    "order_service_lag_events",
    "Events that the relay or a projection has not processed yet, by partition.",
    "name",
    "partition",
)
LAG_SECONDS = Observable(
    GaugeMetricFamily,
    "order_service_lag_seconds",
    "Age of the oldest event that the relay or a projection has not processed yet.",
    "name",
    "partition",
)
DEAD_LETTERS = Observable(
    GaugeMetricFamily,
    "order_service_dead_letters",
    "Parked streams.",
    "name",
    "partition",
)
LOG_EVENTS = Observable(
    CounterMetricFamily, "order_service_log_events_total", "Events in the log.", "partition"
)

# --- every process --------------------------------------------------------------------------------
POOL_CONNECTIONS = Observable(
    GaugeMetricFamily,
    "order_service_database_pool_connections",
    "Connections to PostgreSQL by engine: those in use, and the pool's size.",
    "engine",
    "state",
)
PROCESS = Observable(
    GaugeMetricFamily,
    "order_service_process",
    "Always 1; the label is the role of this process.",
    "role",
)
_Process(registry=REGISTRY)
