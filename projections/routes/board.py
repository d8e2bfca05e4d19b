"""The query route of the desk's board."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from order_service.documents.board import Board
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented
from order_service.web.responses import NO_STORE
from projections.routes.access import staff_only
from projections.streams.board_feed import Boards

router = APIRouter()


@router.get(
    "/ops/board/",
    operation_id="board_get",
    summary="Read the board",
    response_model=Board,
    responses=documented("forbidden", "projection-lagging", scopes=("orders:read",)),
)
async def get_board(request: Request, caller: CallerDependency) -> Response:
    """A card for every order that needs work (not yet delivered, credit due, an open return or a
    failed refund), and for every order that has changed in the last 24 hours. For staff.

    Last changed first, at most 10,000 cards: `more` says whether there are more. `columns` counts
    all of them. Open `/ops/board/stream` with `token` as `since` to follow the changes from here.
    """
    staff_only(caller, "orders:read")
    boards: Boards = request.app.state.streams.boards
    return Response(await boards.whole(), 200, dict(NO_STORE), "application/json")
