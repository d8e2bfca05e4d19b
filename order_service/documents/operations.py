"""Documents for operators: the read models' progress, dead letters, health, history."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, field

from order_service.documents.shape import Document, Instant, Sometimes, means


class PartitionProgress(Document):
    partition: int
    head: Annotated[int, means("The last position of the log in this partition.")]
    checkpoint: Annotated[int, means("The last position that has been processed.")]
    lag_events: int
    lag_s: Annotated[float, means("Age in seconds of the oldest event that is not processed yet.")]
    parked: Annotated[int, means("Streams that are blocked by a dead letter.")]


class Progress(Document):
    """The progress of the relay, which is no read model."""

    name: str
    partitions: list[PartitionProgress]
    lag_events: Annotated[int, means("The sum over all partitions.")]
    lag_s: Annotated[float, means("The maximum over all partitions.")]
    events_per_s: Annotated[
        float | None, means("The rate over the last seconds; null until it has been measured.")
    ]
    parked: int


RebuildState = Literal["queued", "building", "comparing", "done", "failed"]


class Rebuild(Document):
    state: RebuildState
    done: Annotated[int, means("Processed events.")]
    total: Annotated[int, means("Events to process.")]
    started_at: Instant | None
    finished_at: Instant | None
    message: str | None


class ProjectionProgress(Progress):
    version: Annotated[int, means("The version of the code that built the live generation.")]
    generation: Annotated[int, means("The live generation.")]
    generations: Annotated[list[int], means("All generations that are kept or being built.")]
    previous_generation: Annotated[int | None, means("The generation that a rollback restores.")]
    replay_needed: Annotated[
        bool, means("true if the running code has another version than the live generation.")
    ]
    rebuild: Annotated[Rebuild | None, means("The last rebuild; null if there was none.")]


class Projections(Document):
    projections: list[ProjectionProgress]
    relay: Progress


# --- dead letters ---------------------------------------------------------------------------------


class DeadLetter(Document):
    id: str
    projection: str
    generation: int
    partition: int
    position: int
    order_id: UUID
    number: str
    event_type: str
    version: Annotated[int, means("The version of the event that could not be applied.")]
    error: str
    attempts: int
    parked_at: Instant
    events_waiting: Annotated[
        int, means("How many events of the stream are not applied: that event and all later ones.")
    ]


class DeadLetters(Document):
    items: list[DeadLetter]
    more: Annotated[bool, means("true if there are more dead letters; the oldest are listed.")]


class Mended(Document):
    applied: Annotated[
        bool, means("true if the stream's events are applied again; false if it is still parked.")
    ]
    error: Sometimes[Annotated[str, means("Why the stream is still parked.")]] = UNSET


# --- health ---------------------------------------------------------------------------------------

HealthStatus = Literal["ok", "degraded", "down"]


class Check(Document):
    name: str
    status: HealthStatus
    detail: str
    latency_ms: float | None


class Process(Document):
    role: str
    host: str
    pid: int
    started_at: Instant
    seen_at: Instant
    memory_mb: float


class QueueHealth(Document):
    name: str
    messages: int
    consumers: int


class WorkerHealth(Document):
    name: str
    active: Annotated[int, means("Running tasks.")]
    processed: Annotated[int, means("Completed tasks since the worker's processes started.")]


class RelayHealth(Document):
    lag_events: int
    lag_s: float


class Health(Document):
    status: HealthStatus
    checks: list[Check]
    processes: list[Process]
    queues: list[QueueHealth]
    workers: list[WorkerHealth]
    relay: Annotated[RelayHealth | None, means("null if PostgreSQL does not answer.")]
    flower_url: str | None


# --- history --------------------------------------------------------------------------------------

Series = Sequence[float | None]


class HistorySeries(Document):
    requests: Series
    errors: Annotated[Series, means("Responses with a status of 500 or more.")]
    p50_ms: Series
    p99_ms: Series
    commands: Annotated[Series, means("Stored commands.")]
    cache_hit_ratio: Series
    lag_s: Annotated[Series, means("The lag of the read model that lags most.")]
    events: Annotated[Series, means("Appended events.")]


class History(Document):
    step_s: int
    first: Instant = field(name="from")
    last: Instant = field(name="to")
    series: HistorySeries
