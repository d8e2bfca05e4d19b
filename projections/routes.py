"""All query routes, in the order in which paths are tried. May import the routes."""

from fastapi import APIRouter, Depends

from order_service.web.identity import caller
from order_service.web.query_parameters import known_parameters
from projections import (
    board_routes,
    export_routes,
    list_routes,
    order_routes,
    report_routes,
    sales_routes,
)

router = APIRouter(tags=["queries"], dependencies=[Depends(caller), Depends(known_parameters)])
# `/orders/export/` and `/orders/user/` before `/orders/{order_id}/`, which fits the first as well.
for part in (export_routes, list_routes, order_routes, report_routes, board_routes, sales_routes):
    router.include_router(part.router)
