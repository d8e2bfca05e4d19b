"""All that a process counts, by name: the one list of it.

The code that does the work counts it here. A rate is the difference of two scrapes, so nothing here
knows of time; an operator's Prometheus keeps the history. What is counted is bounded by the labels,
so these are names of ours (route templates, never paths).
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

# Else a series beside each other one, which no query needs.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
REGISTRY: Final = CollectorRegistry()  # not the default one: that tells of Python, too

# Seconds: of an answer, an append, a task.
SECONDS: Final = (
    *(0.00025, 0.0005),  # a cached order's
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Of things that go together.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Labels = tuple[object, ...]
Labelled = TypeVar("Labelled", bound=MetricWrapperBase)


class Children(dict[Any, Labelled], Generic[Labelled]):
    """The children of a metric, by the value of its label, or of its labels in their order:
    `labels()` locks and writes each value as text, and that took most of an observation's time."""

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
        of = labels if isinstance(labels, tuple) else (labels,)
        child = self[labels] = self.parent.labels(*of)
        return child


class Observable(Collector):
    """What is so now: `read` is called at each scrape. Absent where there is nothing to read: of
    a process that has no streams, `0` would be no answer. `labels`: their names."""

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
        """The value without labels, from now on."""
        self.read = lambda: {(): read()}

    def describe(self) -> list[Metric]:
        """The family, without samples."""
        return [self._family(self._name, self._meaning, labels=self.labels)]

    def collect(self) -> list[Metric]:
        """The family as it is now."""
        family = self._family(self._name, self._meaning, labels=self.labels)
        for labels, value in self.read().items():
            family.add_metric([str(label) for label in labels], value)
        return [family]


class _Process(ProcessCollector):
    """Without the virtual memory, which says nothing of the memory that is in use."""

    def collect(self) -> Iterable[Metric]:
        return [one for one in super().collect() if one.name != "process_virtual_memory_bytes"]


def observed(histogram: Histogram) -> int:
    """How many values there were, whatever their labels."""
    (family,) = histogram.collect()
    return int(sum(one.value for one in family.samples if one.name.endswith("_count")))


# --- web ------------------------------------------------------------------------------------------
HTTP_SECONDS = Children(
    Histogram,
    "order_service_http_request_seconds",
    "From a request's head to the beginning of its answer, by route template.",
    "method",
    "route",
    "status",
    buckets=SECONDS,
)
HTTP_PROBLEMS = Children(
    Counter,
    "order_service_http_problems_total",
    "Answers that are problem documents, by the slug of their type.",
    "method",
    "route",
    "problem",
)
HTTP_IN_WORK = Observable(
    GaugeMetricFamily,
    "order_service_http_requests_in_work",
    "Requests that are worked on.",
    "group",
)
LIMITS_HIT = Children(
    Counter,
    "order_service_limits_hit_total",
    "Requests that a limit refused, by its policy.",
    "policy",
)
STREAMS_OPEN = Observable(
    GaugeMetricFamily, "order_service_streams_open", "Event streams with a listener."
)
READS = Children(
    Counter,
    "order_service_cache_reads_total",
    "Reads by what the cache had: hit, miss, or bypass where it was not asked or is away.",
    "what",
    "cache",
)
REPLAYS = Counter(
    "order_service_idempotent_replays_total",
    "Commands answered as they were before.",
    registry=REGISTRY,
)
STALE_KEYS = Observable(
    GaugeMetricFamily,
    "order_service_cache_stale_keys",
    "Entries that Redis has yet to be told of, after it failed.",
)

# --- the append -----------------------------------------------------------------------------------
APPEND_SECONDS = Histogram(
    "order_service_append_seconds",
    "A batch's way to the database and back.",
    buckets=SECONDS,
    registry=REGISTRY,
)
APPEND_COMMANDS = Histogram(
    "order_service_append_batch_commands",
    "Commands that went in one append.",
    buckets=SIZES,
    registry=REGISTRY,
)
APPENDS = Children(
    Counter,
    "order_service_append_commands_total",
    "Commands by what became of their append: stored, or the code of the error "
    "(concurrent-update: a conflict of versions).",
    "outcome",
)
APPEND_QUEUE = Observable(
    GaugeMetricFamily, "order_service_append_queue", "Commands that wait for their append."
)

# --- relay, consumer, worker ----------------------------------------------------------------------
RELAYED = Counter(
    "order_service_relay_events_total", "Events that RabbitMQ has confirmed.", registry=REGISTRY
)
RELAY_SECONDS = Histogram(
    "order_service_relay_window_seconds",
    "A window's way to RabbitMQ, confirms included.",
    buckets=SECONDS,
    registry=REGISTRY,
)
SESSIONS = Children(
    Counter,
    "order_service_broker_sessions_failed_total",
    "Sessions that ended by an error.",
    "role",
)
HINTS = Counter(
    "order_service_consumer_hints_total", "Messages that were turned into tasks.", registry=REGISTRY
)
TASKS_SENT = Children(
    Counter, "order_service_tasks_sent_total", "Tasks sent to the workers.", "task"
)
TASK_SECONDS = Children(
    Histogram, "order_service_task_seconds", "A task's time.", "task", "outcome", buckets=SECONDS
)
PROJECTED = Children(
    Counter, "order_service_projected_events_total", "Events applied, by projection.", "projection"
)
LAG_EVENTS = Observable(
    GaugeMetricFamily,
    "order_service_lag_events",
    "Events that the relay or a projection has not reached, by partition.",
    "name",
    "partition",
)
LAG_SECONDS = Observable(
    GaugeMetricFamily,
    "order_service_lag_seconds",
    "Age of the oldest event that it has not reached.",
    "name",
    "partition",
)
DEAD_LETTERS = Observable(
    GaugeMetricFamily,
    "order_service_dead_letters",
    "Streams that are parked now.",
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
    "Connections to PostgreSQL, by engine: those in use, and how many there may be.",
    "engine",
    "state",
)
PROCESS = Observable(
    GaugeMetricFamily, "order_service_process", "1, for the role of this process.", "role"
)
_Process(registry=REGISTRY)
