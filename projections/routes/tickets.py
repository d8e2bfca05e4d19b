"""The route that issues stream tickets, and the caller of a stream: by ticket or by token."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import APIKeyQuery
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.documents.accounts import StreamTicket
from order_service.web.identity import Caller, PersonDependency, admit_caller, bearer, caller
from order_service.web.openapi.annotations import documented, raises
from order_service.web.responses import NO_STORE, json_answer
from projections.streams.tickets import Tickets

_query = APIKeyQuery(name="ticket", scheme_name="StreamTicket", auto_error=False)

router = APIRouter(tags=["streams"])


@router.post(
    "/stream-tickets/",
    operation_id="stream_tickets_issue",
    summary="Get a ticket for a stream",
    response_model=StreamTicket,
    responses=documented(),
)
async def issue_ticket(request: Request, caller: PersonDependency) -> Response:
    """A ticket for one stream: open the stream with `?ticket=` within `expires_in` seconds.

    After a disconnect, a browser's EventSource repeats its address, whose ticket is used up. Get a
    new ticket then, and open a new EventSource with the last event's id as `since`.
    """
    tickets: Tickets = request.app.state.tickets
    ticket = await tickets.issue(caller)
    return json_answer(StreamTicket(ticket, limits.STREAM_TICKET_S), headers=NO_STORE)


@raises("authentication-required", "token-expired", "token-invalid")
async def stream_caller(
    request: Request,
    token: Annotated[str | None, Depends(bearer)],
    ticket: Annotated[str | None, Depends(_query)],
) -> Caller:
    """Like `identity.caller`, but from the ticket if there is one."""
    if ticket is None:
        return await caller(request, token)
    tickets: Tickets = request.app.state.tickets
    redeemed = await tickets.redeem(ticket)
    return admit_caller(request, redeemed)


StreamCaller = Annotated[Caller, Depends(stream_caller)]
