"""The query route of the desk's sales: a series by hour or day, and how the orders went on."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.documents.sales import (
    CancelReasonCount,
    Funnel,
    Percentiles,
    SalesOfCurrency,
    SalesOverview,
    SalesPoint,
)
from order_service.documents.shape import json_time
from order_service.domain.money import to_text
from order_service.infra.postgres import one_snapshot
from order_service.web.identity import CallerDependency
from order_service.web.openapi.annotations import documented
from order_service.web.query_parameters import Instant, wrong_parameter
from order_service.web.responses import NO_STORE, json_answer
from projections.queries.freshness import LAGGING, Freshness, required_progress
from projections.read_models import sales_by_hour
from projections.read_models.sales_by_hour import By
from projections.routes.access import staff_only
from projections.routes.consistency import WantedDependency

router = APIRouter()
_UNIT: dict[By, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@router.get(
    "/ops/sales/",
    operation_id="sales_overview",
    summary="Read sales over time",
    response_model=SalesOverview,
    responses=documented(
        "forbidden", "projection-lagging", may_send=LAGGING, scopes=("reports:read",)
    ),
)
async def get_sales(
    request: Request,
    caller: CallerDependency,
    wanted: WantedDependency,
    first: Annotated[
        Instant, Query(alias="from", description="Start, rounded down to the hour or UTC day.")
    ],
    end: Annotated[Instant, Query(alias="to", description="End, exclusive.")],
    by: Annotated[By, Query(description="The length of each point of the series.")] = "hour",
) -> Response:
    """Orders placed in a period, by hour or UTC day: their number and revenue (captured, less
    refunds made and pending); how many were paid, shipped and so on by now, how soon, and why some
    were canceled. For staff.

    Durations are exact to 1/16. `refund_rate`: refunded money as a share of captured money.
    """
    first = first.replace(minute=0, second=0, microsecond=0)
    if by == "day":
        first = first.replace(hour=0)
    if not timedelta(0) < end - first <= limits.SALES_POINTS_MAX * _UNIT[by]:
        detail = f"Expected a time after `from`, by at most {limits.SALES_POINTS_MAX} {by}s."
        raise wrong_parameter("to", detail)
    staff_only(caller, "reports:read")

    async def read(connection: AsyncConnection) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
        async with one_snapshot(connection):
            await required_progress(connection, sales_by_hour.PROJECTION)
            series = await sales_by_hour.series(connection, first, end, by)
            return series, await sales_by_hour.summed_facts(connection, first, end)

    freshness: Freshness = request.app.state.freshness
    (series, facts), headers = await freshness.read(sales_by_hour.PROJECTION.name, wanted, read)
    currencies = [
        _currency(currency, [s for s in series if s.currency == currency], [*of_it])
        for currency, of_it in groupby(facts, key=lambda fact: fact.currency)
    ]
    overview = SalesOverview(json_time(first), json_time(end), by, currencies)
    return json_answer(overview, headers=NO_STORE | headers)


def _currency(
    currency: str, series: Sequence[Row[Any]], facts: Sequence[Row[Any]]
) -> SalesOfCurrency:
    by_fact = {name: [*of_it] for name, of_it in groupby(facts, key=lambda fact: fact.fact)}
    return SalesOfCurrency(
        currency=currency,
        series=[
            SalesPoint(
                json_time(point.at), point.orders, to_text(int(point.revenue_minor), currency)
            )
            for point in series
        ],
        funnel=Funnel(
            *(
                sum(fact.orders for fact in by_fact.get(name, ()))
                for name in Funnel.__struct_fields__
            )
        ),
        place_to_pay_s=percentiles(by_fact.get("place_to_pay", ())),
        pay_to_ship_s=percentiles(by_fact.get("pay_to_ship", ())),
        cancel_reasons=[
            CancelReasonCount(fact.detail, fact.orders)
            for fact in sorted(by_fact.get("canceled", ()), key=lambda fact: -fact.orders)
        ],
        refund_rate=_share(by_fact.get("refunded", ()), by_fact.get("paid", ())),
    )


def percentiles(times: Sequence[Row[Any]]) -> Percentiles:
    """Median and 90th percentile, in seconds; None if there are no orders."""
    by_length = sorted((int(time.detail), time.orders) for time in times)
    return Percentiles(p50=_percentile(by_length, 50), p90=_percentile(by_length, 90))


def _percentile(by_length: Sequence[tuple[int, int]], part: int) -> int | None:
    """The shortest time within which `part` percent of the orders came."""
    needed = sum(orders for _, orders in by_length) * part
    for seconds, orders in by_length:
        needed -= 100 * orders
        if needed <= 0:
            return seconds
    return None


def _share(refunded: Sequence[Row[Any]], paid: Sequence[Row[Any]]) -> float | None:
    captured = sum(fact.amount_minor for fact in paid)
    if not captured:
        return None
    return round(float(sum(fact.amount_minor for fact in refunded) / captured), 4)
