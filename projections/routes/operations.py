"""The operators' routes: read models, dead letters, health, history.

A worker makes the changes that they request (`operators.requests`). A route that waits for its
change returns the outcome.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from msgspec import UNSET
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.accounts.api_keys import Scope
from order_service.documents.operations import (
    DeadLetters,
    Mended,
    ProjectionProgress,
    Projections,
)
from order_service.documents.operations import Health as HealthReport
from order_service.documents.operations import History as HistoryReport
from order_service.ids import parse_uuid
from order_service.infra.postgres import query
from order_service.web.fields import Body, Words
from order_service.web.identity import Caller, caller
from order_service.web.json_body import json_body
from order_service.web.openapi.annotations import documented, raises
from order_service.web.problems.problem import RETRY_AFTER_S, Problem
from order_service.web.query_parameters import WHOLE, known_parameters, wrong_parameter
from order_service.web.responses import NO_STORE, json_answer
from projections.monitoring import progress
from projections.monitoring.health import Health
from projections.monitoring.history import History
from projections.operators import dead_letters, requests
from projections.operators.requests import Kind, Result
from projections.read_models.registry import PROJECTIONS
from projections.routes.access import staff_only

_RUNNING = ("queued", "building", "comparing")


_SCOPE: Scope = "ops"


@raises("forbidden")
async def operator(caller: Annotated[Caller, Depends(caller)]) -> Caller:
    """A FastAPI dependency: the caller, a member of the staff or an API key with the scope `ops`.
    Declare it after the body, so that an invalid body is refused first. Raises Problem 403."""
    staff_only(caller, _SCOPE)
    return caller


OperatorDependency = Annotated[Caller, Depends(operator)]
router = APIRouter(
    prefix="/ops",
    tags=["operations"],
    dependencies=[Depends(caller), Depends(known_parameters)],
)


NamePath = Annotated[str, Path(description="The read model's name.")]
Minutes = Annotated[
    int,
    Field(ge=1, le=limits.HISTORY_MINUTES_MAX),
    WHOLE,
    Query(description="How many minutes back."),
]
LetterPath = Annotated[str, Path(description="The dead letter's `id`.")]


class SkipRequest(Body):
    reason: Words


# --- read models ----------------------------------------------------------------------------------


@router.get(
    "/projections/",
    operation_id="ops_projections",
    summary="Read the progress of the read models",
    response_model=Projections,
    responses=documented(scopes=(_SCOPE,)),
)
async def get_projections(request: Request, _: OperatorDependency) -> Response:
    """Heads, checkpoints, lag, generations and rebuilds of every read model, and the relay's
    progress."""
    return json_answer(await _progress(request), headers=NO_STORE)


@router.post(
    "/projections/{name}/rebuild/",
    operation_id="ops_rebuild",
    status_code=202,
    summary="Rebuild a read model",
    response_model=ProjectionProgress,
    responses=documented("not-found", "rebuild-running", status=202, scopes=(_SCOPE,)),
)
async def rebuild(request: Request, name: NamePath, operator: OperatorDependency) -> Response:
    """Builds a new generation from the log beside the live one, compares the two and swaps it in,
    under traffic, like the command `replay`. The response says that the rebuild is queued;
    `GET /ops/projections/` shows its progress."""
    _raise_if_running(await _projection(request, name))
    engine = request.app.state.engine
    await requests.submit(engine, "rebuild", name, operator.user_id)
    return json_answer(await _projection(request, name), 202, NO_STORE)


@router.post(
    "/projections/{name}/rollback/",
    operation_id="ops_rollback",
    summary="Go back to the previous generation",
    response_model=ProjectionProgress,
    responses=documented(
        *("not-found", "rebuild-running", "rollback-impossible"),
        *("dependency-unavailable", "outcome-unknown"),
        scopes=(_SCOPE,),
    ),
)
async def roll_back(request: Request, name: NamePath, operator: OperatorDependency) -> Response:
    """Catches up the generation before the last rebuild, and swaps it in."""
    found = await _projection(request, name)
    _raise_if_running(found)
    if found.previous_generation is None:
        raise _rollback_impossible(f"{name} has no generation to go back to.")
    answer = await _done(request, operator, "rollback", name)
    if answer.outcome == "refused":
        raise _rollback_impossible(answer.detail or "")
    return json_answer(await _projection(request, name), headers=NO_STORE)


async def _progress(request: Request) -> Projections:
    rates: progress.Rates = request.app.state.rates
    return await query(request.app.state.engine, lambda c: progress.read(c, rates))


async def _projection(request: Request, name: str) -> ProjectionProgress:
    """Raises Problem 404."""
    for found in (await _progress(request)).projections:
        if found.name == name:
            return found
    raise Problem(404, "not-found", "This read model does not exist.")


def _raise_if_running(projection: ProjectionProgress) -> None:
    if projection.rebuild is not None and projection.rebuild.state in _RUNNING:
        raise _rebuild_running()


def _rebuild_running() -> Problem:
    return Problem(409, "rebuild-running", "A rebuild is running: wait until it ends.")


def _rollback_impossible(detail: str) -> Problem:
    return Problem(409, "rollback-impossible", detail)


# --- dead letters ---------------------------------------------------------------------------------


@router.get(
    "/dead-letters/",
    operation_id="ops_dead_letters",
    summary="List dead letters",
    response_model=DeadLetters,
    responses=documented(scopes=(_SCOPE,)),
)
async def list_dead_letters(
    request: Request,
    _: OperatorDependency,
    projection: Annotated[str | None, Query(description="Only those of this read model.")] = None,
) -> Response:
    """Events that a read model could not apply, oldest first. The later events of their orders wait
    behind them."""
    if projection is not None and projection not in PROJECTIONS:
        raise wrong_parameter("projection", f"Expected any of {', '.join(PROJECTIONS)}.")
    state = request.app.state
    found = await query(
        state.engine, lambda c: dead_letters.page(c, projection, state.log.partitions)
    )
    return json_answer(found, headers=NO_STORE)


_MENDING = ("not-found", "dependency-unavailable", "outcome-unknown")


@router.post(
    "/dead-letters/{letter_id}/retry/",
    operation_id="ops_dead_letter_retry",
    summary="Retry a parked order",
    response_model=Mended,
    responses=documented(*_MENDING, scopes=(_SCOPE,)),
)
async def retry(request: Request, letter_id: LetterPath, operator: OperatorDependency) -> Response:
    """Applies the event and all that wait behind it, once the code or the data is repaired."""
    name, stream_id = _letter(letter_id)
    return _mended(await _done(request, operator, "retry", name, stream_id))


@router.post(
    "/dead-letters/{letter_id}/skip/",
    operation_id="ops_dead_letter_skip",
    summary="Skip an event in a read model",
    response_model=Mended,
    responses=documented(*_MENDING, "rebuild-running", scopes=(_SCOPE,)),
)
async def skip(
    request: Request,
    letter_id: LetterPath,
    body: Annotated[SkipRequest, Depends(json_body(SkipRequest))],
    operator: OperatorDependency,
) -> Response:
    """Leaves the event out of this read model for good, also in rebuilds, and applies the order's
    later events. The operator and the reason are recorded."""
    name, stream_id = _letter(letter_id)
    return _mended(await _done(request, operator, "skip", name, stream_id, body.reason))


def _letter(letter_id: str) -> tuple[str, UUID]:
    """Raises Problem 404."""
    name, _, stream = letter_id.partition(".")
    stream_id = parse_uuid(stream)
    if name not in PROJECTIONS or stream_id is None:
        raise _no_letter()
    return name, stream_id


def _no_letter() -> Problem:
    return Problem(404, "not-found", "This dead letter does not exist.")


def _mended(answer: Result) -> Response:
    if answer.outcome == "not-parked":
        raise _no_letter()
    applied = answer.outcome == "done"
    mended = Mended(applied, UNSET if applied else answer.detail or "")
    return json_answer(mended, headers=NO_STORE)


# --- health and history ---------------------------------------------------------------------------


@router.get(
    "/health/",
    operation_id="ops_health",
    summary="Read the health of the service",
    response_model=HealthReport,
    responses=documented(scopes=(_SCOPE,)),
)
async def get_health(request: Request, _: OperatorDependency) -> Response:
    """Servers, processes, queues, workers, lag and clocks, now."""
    health: Health = request.app.state.health
    return json_answer(await health.report(), headers=NO_STORE)


@router.get(
    "/history/",
    operation_id="ops_history",
    summary="Read the last hour",
    response_model=HistoryReport,
    responses=documented(scopes=(_SCOPE,)),
)
async def get_history(
    request: Request,
    _: OperatorDependency,
    minutes: Minutes = limits.HISTORY_MINUTES_MAX,
) -> Response:
    """What all web processes did, in steps of ten seconds, up to the last completed step; null
    where nothing was recorded. Durations are interpolated between the bounds of a histogram."""
    history: History = request.app.state.history
    return json_answer(await history.read(minutes), headers=NO_STORE)


# --- changes that a worker makes ------------------------------------------------------------------


async def _done(
    request: Request,
    operator: Caller,
    kind: Kind,
    name: str,
    stream_id: UUID | None = None,
    reason: str | None = None,
) -> Result:
    """The outcome of the change, once a worker has made it. Raises Problem 409, 503."""
    engine = request.app.state.engine
    request_id = await requests.submit(engine, kind, name, operator.user_id, stream_id, reason)
    try:
        answer = await requests.wait_for_result(engine, request_id)
    except requests.NotClaimed:
        raise _no_worker("No worker took the request: nothing was changed.") from None
    except requests.NotFinished:
        detail = "A worker is still at work: read the state before you repeat the request."
        raise Problem(503, "outcome-unknown", detail, _LATER) from None
    if answer.outcome == "replay-running":
        raise _rebuild_running()
    if answer.outcome == "failed":
        raise _no_worker(f"The worker failed ({answer.detail}): nothing was changed.")
    return answer


_LATER = {"Retry-After": RETRY_AFTER_S}


def _no_worker(detail: str) -> Problem:
    return Problem(503, "dependency-unavailable", detail, _LATER, dependency="worker")
