"""All that a process counts, by name: the one list of it.

Whoever does the work counts it here. A rate is the difference of two looks, so nothing here knows
of time; an operator's Prometheus keeps the history.
"""

from order_service.telemetry.instruments import SECONDS, SIZES, Counter, Family, Gauge, Histogram

# --- web ------------------------------------------------------------------------------------------
HTTP_SECONDS = Histogram(
    "order_service_http_request_seconds",
    "From a request's head to the beginning of its answer, by route template.",
    SECONDS,
    *("method", "route", "status"),
)
HTTP_PROBLEMS = Counter(
    "order_service_http_problems_total",
    "Answers that are problem documents, by the slug of their type.",
    *("method", "route", "problem"),
)
HTTP_IN_WORK = Gauge("order_service_http_requests_in_work", "Requests that are worked on.", "group")
LIMITS_HIT = Counter(
    "order_service_limits_hit_total", "Requests that a limit refused, by its policy.", "policy"
)
STREAMS_OPEN = Gauge("order_service_streams_open", "Event streams with a listener.")
READS = Counter(
    "order_service_cache_reads_total",
    "Reads by what the cache had: hit, miss, or bypass where it was not asked or is away.",
    *("what", "cache"),
)
REPLAYS = Counter(
    "order_service_idempotent_replays_total", "Commands answered as they were before."
)
STALE_KEYS = Gauge(
    "order_service_cache_stale_keys", "Entries that Redis has yet to be told of, after it failed."
)

# --- the append -----------------------------------------------------------------------------------
APPEND_SECONDS = Histogram(
    "order_service_append_seconds", "A batch's way to the database and back.", SECONDS
)
APPEND_COMMANDS = Histogram(
    "order_service_append_batch_commands", "Commands that went in one append.", SIZES
)
APPENDS = Counter(
    "order_service_append_commands_total",
    "Commands by what became of their append: stored, or the code of the error "
    "(concurrent-update: a conflict of versions).",
    "outcome",
)
APPEND_QUEUE = Gauge("order_service_append_queue", "Commands that wait for their append.")

# --- relay, consumer, worker ----------------------------------------------------------------------
RELAYED = Counter("order_service_relay_events_total", "Events that RabbitMQ has confirmed.")
RELAY_SECONDS = Histogram(
    "order_service_relay_window_seconds", "A window's way to RabbitMQ, confirms included.", SECONDS
)
SESSIONS = Counter(
    "order_service_broker_sessions_failed_total", "Sessions that ended by an error.", "role"
)
HINTS = Counter("order_service_consumer_hints_total", "Messages that were turned into tasks.")
TASKS_SENT = Counter("order_service_tasks_sent_total", "Tasks sent to the workers.", "task")
TASK_SECONDS = Histogram(
    "order_service_task_seconds", "A task's time.", SECONDS, *("task", "outcome")
)
PROJECTED = Counter(
    "order_service_projected_events_total", "Events applied, by projection.", "projection"
)
LAG_EVENTS = Gauge(
    "order_service_lag_events",
    "Events that the relay or a projection has not reached, by partition.",
    *("name", "partition"),
)
LAG_SECONDS = Gauge(
    "order_service_lag_seconds",
    "Age of the oldest event that it has not reached.",
    *("name", "partition"),
)
DEAD_LETTERS = Gauge(
    "order_service_dead_letters", "Streams that are parked now.", *("name", "partition")
)
LOG_EVENTS = Counter("order_service_log_events_total", "Events in the log.", "partition")

# --- every process --------------------------------------------------------------------------------
POOL_CONNECTIONS = Gauge(
    "order_service_database_pool_connections",
    "Connections to PostgreSQL, by engine: those in use, and how many there may be.",
    *("engine", "state"),
)
PROCESS = Gauge("order_service_process", "1, for the role of this process.", "role")

FAMILIES: tuple[Family, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Family)
)
