"""The query route of one order, as it is now and as it was."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from order_service.documents.order import Order, etag
from order_service.errors import OrderNotFound
from order_service.log.event_log import EventLog
from order_service.log.reading import VERSION_MAX
from order_service.web.fast_path import ParsedRequest
from order_service.web.identity import Caller, CallerDependency, check_scope
from order_service.web.openapi.annotations import documented, headers
from order_service.web.order_path import OrderPath
from order_service.web.query_parameters import WHOLE, Instant, wrong_parameter
from order_service.web.responses import PRIVATE, Reply, unmodified_tag
from projections.queries.order_reader import CacheUse, OrderReader, ReadOrder
from projections.routes.consistency import WantedDependency

router = APIRouter()
Version = Annotated[int, Field(ge=1, le=VERSION_MAX), WHOLE]


class MomentParameters(BaseModel):
    """The order as it is now, unless one is given."""

    model_config = ConfigDict(frozen=True)

    version: Version | None = Field(None, description="The order as it was at this version.")
    as_of: Instant | None = Field(None, description="The order as it was at this time.")


@router.get(
    "/orders/{order_id}/",
    operation_id="orders_get",
    summary="Read an order",
    response_model=Order,
    responses={
        304: {
            "description": "The order has not changed since the version in If-None-Match.",
            "headers": headers("ETag"),
        },
        **documented(
            "order-unreadable",
            sends=("X-Cache",),
            may_send=("ETag", "Order-Stale"),
            scopes=("orders:read",),
        ),
    },
)
async def get_order(
    request: Request,
    order_id: OrderPath,
    caller: CallerDependency,
    wanted: WantedDependency,
    moment: Annotated[MomentParameters, Query()],
    if_none_match: Annotated[
        list[str] | None, Header(description="304 if one of these ETags is still the order's.")
    ] = None,
) -> Response:
    """An order as it is now, never older than any earlier response to a command.

    With `version` or `as_of`: the order as it was then, byte for byte as it was served.
    `Order-Stale: true` marks an order whose last events the running version cannot read.
    """
    if moment.version is not None and moment.as_of is not None:
        raise wrong_parameter("as_of", "Give version or as_of, not both.")
    log: EventLog = request.app.state.log
    reader: OrderReader = request.app.state.order_reader
    found = await log.resolve(order_id)
    cache_use: CacheUse = "bypass"
    last = 0
    if moment.version is not None:
        order, last = await reader.read_version(found, moment.version)
    elif moment.as_of is not None:
        order = await reader.read_as_of(found, moment.as_of)
    else:
        seen = [token.version for token in wanted.tokens if token.stream_id == found]
        order, cache_use = await reader.read(found, max(seen, default=0))
    order = _visible(found, order, caller)
    if moment.version is not None and last < moment.version:
        raise wrong_parameter("version", f"The order is at version {last}: expected 1 to {last}.")
    return _reply(order, cache_use, ",".join(if_none_match or ())).response()


async def get_on_fast_path(parsed: ParsedRequest) -> Reply:
    """`get_order` on the fast path: the order as it is now."""
    assert parsed.order_id is not None
    reader: OrderReader = parsed.app.state.order_reader
    order, cache_use = await reader.read(parsed.order_id)
    order = _visible(parsed.order_id, order, parsed.caller)
    return _reply(order, cache_use, parsed.header(b"if-none-match") or "")


def _visible(order_id: UUID, order: ReadOrder | None, caller: Caller) -> ReadOrder:
    """Raises OrderNotFound for another user's order as for one that does not exist."""
    check_scope(caller, "orders:read")
    if order is None or not caller.sees_order(order_id, order.owner):
        raise OrderNotFound
    return order


def _reply(order: ReadOrder, cache_use: CacheUse, if_none_match: str) -> Reply:
    headers = {**PRIVATE, "X-Cache": cache_use}
    if order.stale:
        headers["Order-Stale"] = "true"
        return Reply(200, headers, order.document)
    headers["ETag"] = etag(order.version)
    if if_none_match and (tag := unmodified_tag(if_none_match, headers["ETag"])):
        return Reply(304, headers | {"ETag": tag}, media_type=None)
    return Reply(200, headers, order.document)
