"""The query routes of reports: a user's spending, sales by day."""

from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.documents.sales import CurrencySummary, Sales, SalesReport, UserSummary
from order_service.documents.shape import json_time
from order_service.domain.money import to_text
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented
from order_service.web.query_parameters import wrong_parameter
from order_service.web.responses import PRIVATE, json_answer
from projections.queries.freshness import LAGGING, Freshness, required_progress
from projections.read_models import customer_summary, sales_by_day, shop_time
from projections.routes.access import UserPath, check_user, owner_or_staff, staff_only
from projections.routes.consistency import WantedDependency

router = APIRouter()
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


@router.get(
    "/users/{user_id}/summary/",
    operation_id="users_summary",
    summary="Read a user's totals",
    response_model=UserSummary,
    responses=documented("forbidden", "not-found", may_send=LAGGING, scopes=("reports:read",)),
)
async def get_summary(
    request: Request, user_id: UserPath, caller: CallerDependency, wanted: WantedDependency
) -> Response:
    """A user's orders and spending (captured, less refunds made and pending), per currency."""
    owner_or_staff(caller, user_id, "reports:read")
    freshness: Freshness = request.app.state.freshness
    rows, headers = await freshness.read(
        customer_summary.PROJECTION.name, wanted, lambda c: customer_summary.summary(c, user_id)
    )
    if not rows and user_id != caller.own_id:
        await check_user(request.app.state.engine, user_id)
    currencies = [
        CurrencySummary(
            currency=row.currency,
            orders=row.orders,
            spent=to_text(int(row.spent_minor), row.currency),
            last_order_at=json_time(row.last_order_at),
            last_order_id=row.last_order_id,
        )
        for row in rows
    ]
    return json_answer(UserSummary(user_id, currencies), headers=PRIVATE | headers)


@router.get(
    "/reports/sales/",
    operation_id="reports_sales",
    summary="Report sales by day",
    response_model=SalesReport,
    responses=documented(
        "forbidden", "projection-lagging", may_send=LAGGING, scopes=("reports:read",)
    ),
)
async def report_sales(
    request: Request,
    caller: CallerDependency,
    wanted: WantedDependency,
    first: Annotated[
        str, Query(alias="from", pattern=_DAY, description="Day of the shop, inclusive.")
    ],
    last: Annotated[
        str, Query(alias="to", pattern=_DAY, description="Day of the shop, inclusive.")
    ],
) -> Response:
    """Orders placed on each day of the shop, with their revenue and units, per currency and current
    status. For staff.

    Revenue is what was captured, less refunds, made and pending, and reversals; `gross` is before
    these. PENDING orders have none. `self_service` is apart: owners have set these orders to PAID.
    """
    days = (_day("from", first), _day("to", last))
    if not timedelta(0) <= days[1] - days[0] < timedelta(limits.REPORT_DAYS_MAX):
        detail = f"Expected 1 to {limits.REPORT_DAYS_MAX} days, both ends inclusive."
        raise wrong_parameter("to", detail)
    staff_only(caller, "reports:read")
    freshness: Freshness = request.app.state.freshness

    async def read(connection: AsyncConnection) -> list[Row[Any]]:
        await required_progress(connection, sales_by_day.PROJECTION)
        return await sales_by_day.report(connection, *days)

    rows, headers = await freshness.read(sales_by_day.PROJECTION.name, wanted, read)
    sales = [
        Sales(
            day=row.day,
            currency=row.currency,
            status=row.status,
            orders=row.orders,
            revenue=to_text(int(row.revenue_minor), row.currency),
            gross=to_text(int(row.gross_minor), row.currency),
            self_service=to_text(int(row.self_service_minor), row.currency),
            units=row.units,
        )
        for row in rows
    ]
    return json_answer(SalesReport(*days, shop_time.ZONE.key, sales), headers=PRIVATE | headers)


def _day(parameter: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise wrong_parameter(parameter, "This day does not exist.") from None
