"""Whether a process is alive, and whether an order can go all the way."""

from typing import Annotated, Literal

from order_service.documents.shape import Document, means


class HealthResponse(Document):
    status: Literal["ok"]


class VersionResponse(Document):
    version: Annotated[str, means("As semver.org has it.")]


class ReadyResponse(Document):
    status: Literal["ready", "degraded"]
    checks: Annotated[dict[str, str], means("By what is needed: `ok`, or the kind of error.")]
