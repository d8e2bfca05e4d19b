"""Whether this process is alive, which version it runs, and whether an order can go all the way."""

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
    """The process is alive. Says nothing about its servers: restarting it would not mend them."""
    return json_answer(HealthResponse("ok"), headers=NO_STORE)


@router.get(
    "/version",
    operation_id="service_version",
    summary="Which version is this?",
    response_model=VersionResponse,
    responses=documented(),
)
async def version() -> Response:
    """The version of the process that answers: during an update two versions may serve at once."""
    return json_answer(VersionResponse(__version__), headers=NO_STORE)


@router.get(
    "/readyz",
    operation_id="service_ready",
    summary="Can an order go all the way?",
    response_model=ReadyResponse,
    responses=documented()
    | {503: {"model": ReadyResponse, "description": "Something is missing."}},
)
async def readyz(request: Request) -> Response:
    """200 when an order can go all the way now; 503 with what is missing, or `Lagging` where relay
    or read models do not come along. Commands need the database only."""
    report = await request.app.state.readiness.report()
    ready = all(outcome == "ok" for outcome in report.values())
    content = ReadyResponse("ready" if ready else "degraded", report)
    return json_answer(content, 200 if ready else 503, NO_STORE)
