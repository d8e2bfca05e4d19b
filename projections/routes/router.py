"""All query routes, in the order in which paths are matched."""

from fastapi import APIRouter, Depends

from order_service.web.identity import caller
from order_service.web.query_parameters import known_parameters
from projections.routes import board, exports, lists, orders, reports, sales

router = APIRouter(tags=["queries"], dependencies=[Depends(caller), Depends(known_parameters)])
# `/orders/export/` before `/orders/{order_id}/`, which matches it too.
for part in (exports, lists, orders, reports, board, sales):
    router.include_router(part.router)
