"""The query route of the desk's sales: a series by hour or day, and how the orders went on."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
from projections.queries.rest_of_hour import TooManyOrders, facts_from
from projections.read_models import sales_by_hour, shop_time
from projections.read_models.projection import Rows
from projections.read_models.sales_by_hour import By
from projections.read_models.shop_time import hour_of, start_of_day
from projections.routes.access import staff_only
from projections.routes.consistency import WantedDependency

router = APIRouter()
Series = dict[tuple[str, datetime], list[int]]  # currency and time to sums, by _IN_SERIES
Facts = dict[tuple[str, str, str], tuple[int, int]]  # currency, fact, detail to orders, minor units
_IN_SERIES = {"placed": 0, "paid": 1, "refunded": 2, "self_service": 3}
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
        Instant, Query(alias="from", description="Start, rounded down to the shop's hour or day.")
    ],
    end: Annotated[Instant, Query(alias="to", description="End, exclusive to the instant.")],
    by: Annotated[By, Query(description="The length of each point of the series.")] = "hour",
) -> Response:
    """Orders placed in a period, by hour or day of the shop: their number and revenue; how many
    were paid, shipped and so on by now, how soon, and why some were canceled. For staff.

    Revenue and `gross` are as in `/reports/sales/`. Durations are exact to 1/16.
    """
    first = start_of_day(first) if by == "day" else hour_of(first)
    if not timedelta(0) < end - first <= limits.SALES_POINTS_MAX * _UNIT[by]:
        detail = f"Expected a time after `from`, by at most {limits.SALES_POINTS_MAX} {by}s."
        raise wrong_parameter("to", detail)
    staff_only(caller, "reports:read")

    async def read(connection: AsyncConnection) -> tuple[Series, Facts]:
        async with one_snapshot(connection):
            progress = await required_progress(connection, sales_by_hour.PROJECTION)
            series = await sales_by_hour.series(connection, first, end, by)
            facts = await sales_by_hour.summed_facts(connection, first, end)
            later = await facts_from(connection, end, progress.positions)
            return _series_until(series, later, by), _facts_until(facts, later)

    freshness: Freshness = request.app.state.freshness
    try:
        (series, facts), headers = await freshness.read(sales_by_hour.PROJECTION.name, wanted, read)
    except TooManyOrders:
        most = limits.SALES_PART_ORDERS_MAX
        detail = f"More than {most:,} orders came in the rest of this hour: end with a whole hour."
        raise wrong_parameter("to", detail) from None
    currencies = [
        _currency(currency, series, facts) for currency in sorted({fact[0] for fact in facts})
    ]
    zone = shop_time.ZONE.key
    overview = SalesOverview(json_time(first), json_time(end), by, zone, currencies)
    return json_answer(overview, headers=NO_STORE | headers)


# --- the end within an hour -----------------------------------------------------------------------


def _series_until(rows: Sequence[Row[Any]], later: Rows, by: By) -> Series:
    """Without the orders of `later`."""
    series: Series = {
        (row.currency, row.at): [
            row.orders,
            int(row.gross_minor),
            int(row.refunded_minor),
            int(row.self_service_minor),
        ]
        for row in rows
    }
    for (hour, currency, fact, _), (orders, amount) in later.items():
        at = start_of_day(hour) if by == "day" else hour
        if fact in _IN_SERIES and (currency, at) in series:
            series[currency, at][_IN_SERIES[fact]] -= orders if fact == "placed" else amount
    return {key: sums for key, sums in series.items() if any(sums)}


def _facts_until(rows: Sequence[Row[Any]], later: Rows) -> Facts:
    facts = {(r.currency, r.fact, r.detail): (r.orders, int(r.amount_minor)) for r in rows}
    for (_, *key), (orders, amount) in later.items():
        name = (key[0], key[1], key[2])
        was_orders, was_amount = facts.get(name, (0, 0))
        facts[name] = was_orders - orders, was_amount - amount
    return {key: counted for key, counted in facts.items() if counted != (0, 0)}


# --- one currency ---------------------------------------------------------------------------------


def _currency(currency: str, series: Series, facts: Facts) -> SalesOfCurrency:
    details: dict[str, dict[str, int]] = {}
    amounts: dict[str, int] = {}
    for (of, fact, detail), (orders, amount) in facts.items():
        if of == currency:
            details.setdefault(fact, {})[detail] = orders
            amounts[fact] = amounts.get(fact, 0) + amount
    return SalesOfCurrency(
        currency=currency,
        series=[
            SalesPoint(
                json_time(at),
                orders,
                to_text(gross - refunded, currency),
                to_text(gross, currency),
                to_text(self_service, currency),
            )
            for (of, at), (orders, gross, refunded, self_service) in sorted(series.items())
            if of == currency
        ],
        funnel=Funnel(*(sum(details.get(n, {}).values()) for n in Funnel.__struct_fields__)),
        place_to_pay_s=percentiles(details.get("place_to_pay", {})),
        pay_to_ship_s=percentiles(details.get("pay_to_ship", {})),
        cancel_reasons=[
            CancelReasonCount(reason, orders)  # type: ignore[arg-type]  # a detail is any text
            for reason, orders in sorted(details.get("canceled", {}).items(), key=_most_first)
        ],
        refund_rate=_share(amounts.get("refunded", 0), amounts.get("paid", 0)),
    )


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def percentiles(orders_by_seconds: Mapping[str, int]) -> Percentiles:
    """Median and 90th percentile, in seconds; None if there are no orders."""
    by_length = sorted((int(seconds), orders) for seconds, orders in orders_by_seconds.items())
    return Percentiles(p50=_percentile(by_length, 50), p90=_percentile(by_length, 90))


def _percentile(by_length: Sequence[tuple[int, int]], part: int) -> int | None:
    """The shortest time within which `part` percent of the orders came."""
    needed = sum(orders for _, orders in by_length) * part
    for seconds, orders in by_length:
        needed -= 100 * orders
        if needed <= 0:
            return seconds
    return None


def _share(refunded: int, captured: int) -> float | None:
    return round(refunded / captured, 4) if captured else None
