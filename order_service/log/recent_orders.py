"""The folded orders to which a process has appended last, in bounded memory."""

from collections import OrderedDict
from uuid import UUID

from order_service import limits
from order_service.log.fold import FoldedOrder


class RecentOrders:
    """The oldest is forgotten first: above FOLDED_ORDERS_MAX orders, or FOLDED_LINES_MAX lines of
    all of them."""

    def __init__(self) -> None:
        self._orders: OrderedDict[UUID, FoldedOrder] = OrderedDict()
        self._lines = 0

    def get(self, order_id: UUID) -> FoldedOrder | None:
        return self._orders.get(order_id)

    def forget(self, order_id: UUID) -> None:
        found = self._orders.pop(order_id, None)
        if found is not None:
            self._lines -= len(found.order.lines)

    def remember(self, folded: FoldedOrder) -> None:
        self.forget(folded.id)
        self._orders[folded.id] = folded
        self._lines += len(folded.order.lines)
        while len(self._orders) > limits.FOLDED_ORDERS_MAX or self._lines > limits.FOLDED_LINES_MAX:
            self.forget(next(iter(self._orders)))
