"""PROJECTIONS: the only list of all projections."""

from projections.read_models import customer_summary, order_view, sales_by_day, sales_by_hour
from projections.read_models.projection import Projection

PROJECTIONS: dict[str, Projection] = {
    projection.name: projection
    for projection in (
        order_view.PROJECTION,
        customer_summary.PROJECTION,
        sales_by_day.PROJECTION,
        sales_by_hour.PROJECTION,
    )
}
