"""Liveness, version and readiness of this process."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from order_service import __version__
from order_service.documents.service import HealthResponse, ReadyResponse, VersionResponse
from order_service.web.openapi.annotations import documented
from order_service.web.responses import NO_STORE, json_answer

router = APIRouter(tags=["service"])


@router.get(
    "/healthz",
    operation_id="service_health",
    summary="Is the process alive?",
    response_model=HealthResponse,
    responses=documented(),
)
async def healthz() -> Response:
    """200 while the process runs. Does not check the servers that it needs: restarting the process
    would not repair them."""
    return json_answer(HealthResponse("ok"), headers=NO_STORE)


@router.get(
    "/version",
    operation_id="service_version",
    summary="Which version is this?",
    response_model=VersionResponse,
    responses=documented(),
)
async def version() -> Response:
    """The version of the process that responds: during an update two versions may run at once."""
    return json_answer(VersionResponse(__version__), headers=NO_STORE)


@router.get(
    "/readyz",
    operation_id="service_ready",
    summary="Can the service process an order end to end?",
    response_model=ReadyResponse,
    responses=documented()
    | {503: {"model": ReadyResponse, "description": "A dependency is missing or late."}},
)
async def readyz(request: Request) -> Response:
    """200 if the service can process an order end to end. Otherwise 503: `checks` shows the failed
    dependencies, and `Lagging` if the relay or a read model is too far behind. Commands need only
    the database."""
    report = await request.app.state.readiness.report()
    ready = all(outcome == "ok" for outcome in report.values())
    content = ReadyResponse("ready" if ready else "degraded", report)
    return json_answer(content, 200 if ready else 503, NO_STORE)
