"""`POST /orders/lookup/`: a guest finds an order by its number and its contact's e-mail address.

Every miss has the same answer, after the same time: nobody learns which numbers there are, or whose
they are. Each address may try STRICT_RATE_DIVISOR times less than other requests, and each number
as often as a login.
"""

import asyncio
from time import monotonic
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.accounts.users import is_same_address
from order_service.documents.accounts import OrderAccess
from order_service.errors import NotFound
from order_service.infra.postgres import query
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.log.reading import read_texts
from order_service.web.admission import admission_of
from order_service.web.fields import Body, Email, ShortText
from order_service.web.json_body import json_body
from order_service.web.openapi.annotations import documented
from order_service.web.query_parameters import known_parameters
from order_service.web.rate_limits import address_key
from order_service.web.responses import NO_STORE, json_answer

router = APIRouter(prefix="/orders", tags=["orders"])


class LookUpRequest(Body):
    number: ShortText
    email: Email


@router.post(
    "/lookup/",
    operation_id="orders_look_up",
    summary="Find an order as a guest",
    response_model=OrderAccess,
    responses=documented("order-not-found"),
    dependencies=[Depends(known_parameters)],
)
async def look_up(
    request: Request, body: Annotated[LookUpRequest, Depends(json_body(LookUpRequest))]
) -> Response:
    """A token that reads this one order for half an hour, for the order's number and the e-mail
    address of its contact. It changes nothing."""
    answered_at = monotonic() + limits.LOOK_UP_ANSWER_S
    admission = admission_of(request)
    host = request.client.host if request.client else None
    failed, attempts = (
        admission.rate_limits.failed_logins,
        f"order {body.number} {address_key(host)}",
    )
    failed.attempt(attempts)
    found = await _find(request, body)
    await asyncio.sleep(max(0.0, answered_at - monotonic()))
    if found is None:
        raise NotFound("order-not-found", "No order has this number and this e-mail address.")
    failed.succeeded(attempts)
    token = admission.access_tokens.issue_for_order(found.id)
    access = OrderAccess(found.id, token, "bearer", limits.LOOK_UP_TOKEN_S)
    return json_answer(access, headers=NO_STORE)


async def _find(request: Request, body: LookUpRequest) -> FoldedOrder | None:
    log: EventLog = request.app.state.log
    try:
        folded = await log.read(await log.resolve(body.number.strip()))
    except NotFound:
        return None
    ref = None if folded is None else folded.order.contact_ref
    if folded is None or ref is None:
        return None
    order_id = folded.id
    texts = await query(request.app.state.engine, lambda c: read_texts(c, order_id, [ref]))
    if ref not in texts:  # erased
        return None
    known: str = orjson.loads(texts[ref][1])["email"]
    return folded if is_same_address(body.email, known) else None
