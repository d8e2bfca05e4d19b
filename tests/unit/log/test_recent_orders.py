"""The orders in a process's memory are bounded by their number and by their lines."""

from uuid import UUID

import pytest

from order_service.log.fold import FoldedOrder, fold_stored
from order_service.log.recent_orders import RecentOrders
from tests.support.log.examples import PLACED
from tests.support.values import replace
from tests.unit.log.test_fold import stream


def order(number: int) -> FoldedOrder:
    """With two lines."""
    folded = fold_stored(stream(PLACED), 4)
    assert folded is not None
    return replace(folded, id=UUID(int=number))


@pytest.mark.parametrize(
    ("limit", "value"), [("FOLDED_ORDERS_MAX", 3), ("FOLDED_LINES_MAX", 7)], ids=["orders", "lines"]
)
def test_the_oldest_order_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(f"order_service.limits.{limit}", value)
    recent = RecentOrders()

    for number in (1, 2, 3, 1, 4):
        recent.remember(order(number))
    recent.forget(UUID(int=3))
    recent.remember(order(5))

    kept = [number for number in range(1, 6) if recent.get(UUID(int=number)) is not None]
    assert kept == [1, 4, 5]
