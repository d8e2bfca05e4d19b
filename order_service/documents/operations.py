"""What operators read and change: the read models' progress, dead letters, health, history."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, field

from order_service.documents.shape import Document, Instant, Sometimes, means


class PartitionProgress(Document):
    partition: int
    head: Annotated[int, means("The log's last position.")]
    checkpoint: Annotated[int, means("The last position that is done.")]
    lag_events: int
    lag_s: Annotated[float, means("Age of the oldest event that is not done.")]
    parked: Annotated[int, means("Streams that wait behind a dead letter.")]


class Progress(Document):
    """Of the relay: no read model."""

    name: str
    partitions: list[PartitionProgress]
    lag_events: Annotated[int, means("Of all partitions.")]
    lag_s: Annotated[float, means("Of the partition that lags most.")]
    events_per_s: Annotated[
        float | None, means("Of the last seconds; null while too little is known.")
    ]
    parked: int


RebuildState = Literal["queued", "building", "comparing", "done", "failed"]


class Rebuild(Document):
    state: RebuildState
    done: Annotated[int, means("Events.")]
    total: int
    started_at: Instant | None
    finished_at: Instant | None
    message: str | None


class ProjectionProgress(Progress):
    version: Annotated[int, means("Of the code that built the live generation.")]
    generation: Annotated[int, means("The live one.")]
    generations: Annotated[list[int], means("All that are kept or built.")]
    previous_generation: Annotated[int | None, means("What a rollback goes back to.")]
    replay_needed: Annotated[bool, means("The running code is of another version.")]
    rebuild: Annotated[Rebuild | None, means("The last one; null: there was none.")]


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
    version: Annotated[int, means("Of the event that could not be applied.")]
    error: str
    attempts: int
    parked_at: Instant
    events_waiting: Annotated[int, means("That event and all after it.")]


class DeadLetters(Document):
    items: list[DeadLetter]
    more: Annotated[bool, means("There are more than are listed: the oldest are.")]


class Mended(Document):
    applied: Annotated[bool, means("The stream goes on; else it is parked still.")]
    error: Sometimes[Annotated[str, means("Why it is parked still.")]] = UNSET


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
    active: Annotated[int, means("Tasks at work.")]
    processed: Annotated[int, means("Tasks done since its processes began.")]


class RelayHealth(Document):
    lag_events: int
    lag_s: float


class Health(Document):
    status: HealthStatus
    checks: list[Check]
    processes: list[Process]
    queues: list[QueueHealth]
    workers: list[WorkerHealth]
    relay: Annotated[RelayHealth | None, means("null: PostgreSQL does not answer.")]
    flower_url: str | None


# --- history --------------------------------------------------------------------------------------

Series = Sequence[float | None]


class HistorySeries(Document):
    requests: Series
    errors: Annotated[Series, means("Answers 5xx.")]
    p50_ms: Series
    p99_ms: Series
    commands: Annotated[Series, means("Commands that were stored.")]
    cache_hit_ratio: Series
    lag_s: Annotated[Series, means("Of the read model that lags most.")]
    events: Annotated[Series, means("Events appended.")]


class History(Document):
    step_s: int
    first: Instant = field(name="from")
    last: Instant = field(name="to")
    series: HistorySeries
