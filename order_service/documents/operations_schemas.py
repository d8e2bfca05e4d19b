"""What answers to operators look like: models for the OpenAPI document, as `documents`."""

from typing import Literal

from pydantic import Field

from order_service.documents.schemas import Document, Id, Instant, sometimes


class PartitionProgress(Document):
    partition: int
    head: int = Field(description="The log's last position.")
    checkpoint: int = Field(description="The last position that is done.")
    lag_events: int
    lag_s: float = Field(description="Age of the oldest event that is not done.")
    parked: int = Field(description="Streams that wait behind a dead letter.")


class Progress(Document):
    """Of the relay: no read model."""

    name: str
    partitions: list[PartitionProgress]
    lag_events: int = Field(description="Of all partitions.")
    lag_s: float = Field(description="Of the partition that lags most.")
    events_per_s: float | None = Field(
        description="Of the last seconds; null while too little is known."
    )
    parked: int


class Rebuild(Document):
    state: Literal["queued", "building", "comparing", "done", "failed"]
    done: int = Field(description="Events.")
    total: int
    started_at: Instant | None
    finished_at: Instant | None
    message: str | None


class ProjectionProgress(Progress):
    version: int = Field(description="Of the code that built the live generation.")
    generation: int = Field(description="The live one.")
    generations: list[int] = Field(description="All that are kept or built.")
    previous_generation: int | None = Field(description="What a rollback goes back to.")
    replay_needed: bool = Field(description="The running code is of another version.")
    rebuild: Rebuild | None = Field(description="The last one; null: there was none.")


class Projections(Document):
    projections: list[ProjectionProgress]
    relay: Progress


class DeadLetter(Document):
    id: str
    projection: str
    generation: int
    partition: int
    position: int
    order_id: Id
    number: str
    event_type: str
    version: int = Field(description="Of the event that could not be applied.")
    error: str
    attempts: int
    parked_at: Instant
    events_waiting: int = Field(description="That event and all after it.")


class DeadLetters(Document):
    items: list[DeadLetter]
    more: bool = Field(description="There are more than are listed: the oldest are.")


class Mended(Document):
    applied: bool = Field(description="The stream goes on; else it is parked still.")
    error: str = sometimes("Why it is parked still.")


class Check(Document):
    name: str
    status: Literal["ok", "degraded", "down"]
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
    active: int = Field(description="Tasks at work.")
    processed: int = Field(description="Tasks done since its processes began.")


class RelayHealth(Document):
    lag_events: int
    lag_s: float


class Health(Document):
    status: Literal["ok", "degraded", "down"]
    checks: list[Check]
    processes: list[Process]
    queues: list[QueueHealth]
    workers: list[WorkerHealth]
    relay: RelayHealth | None = Field(description="null: PostgreSQL does not answer.")
    flower_url: str | None


Series = list[float | None]


class HistorySeries(Document):
    requests: Series
    errors: Series = Field(description="Answers 5xx.")
    p50_ms: Series
    p99_ms: Series
    commands: Series = Field(description="Commands that were stored.")
    cache_hit_ratio: Series
    lag_s: Series = Field(description="Of the read model that lags most.")
    events: Series = Field(description="Events appended.")


class History(Document):
    step_s: int
    first: Instant = Field(alias="from")
    last: Instant = Field(alias="to")
    series: HistorySeries
