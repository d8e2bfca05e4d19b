"""Health, version and readiness of the service."""

from typing import Annotated, Literal

from order_service.documents.shape import Document, means


class HealthResponse(Document):
    status: Literal["ok"]


class VersionResponse(Document):
    version: Annotated[str, means("A semantic version (semver.org).")]


class ReadyResponse(Document):
    status: Literal["ready", "degraded"]
    checks: Annotated[
        dict[str, str], means("Each dependency's result: `ok`, or the kind of error.")
    ]
