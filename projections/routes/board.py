"""The query routes of the operators' desk: the board."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from order_service.documents.board_schemas import Board
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented
from order_service.web.responses import NO_STORE
from projections.routes.access import staff_only
from projections.streams.board_feed import Boards

router = APIRouter()


@router.get(
    "/ops/board/",
    operation_id="board_get",
    summary="See all orders that somebody has work with",
    response_model=Board,
    responses=documented("forbidden", "projection-lagging"),
)
async def get_board(request: Request, caller: CallerDependency) -> Response:
    """A card for every order that is not done (open, or with money due back, an open return or a
    failed refund), and for every one that was changed in the last 24 hours; for staff.

    Newest change first, at most 10,000 cards: `more` says that there are more. `columns` counts
    all of them. `token` is where `/ops/board/stream` goes on from here.
    """
    staff_only(caller)
    boards: Boards = request.app.state.streams.boards
    return Response(await boards.whole(), 200, dict(NO_STORE), "application/json")
