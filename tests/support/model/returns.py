"""Returns by the book."""

from datetime import datetime
from types import SimpleNamespace
from uuid import UUID

from order_service.domain import commands as c
from order_service.domain.parts import LineQuantity
from tests.support.model.facts import Outcome, codes
from tests.support.model.goods import Goods, summed

OPEN = ("REQUESTED", "APPROVED")


class Returns(Goods):
    # --- returns ----------------------------------------------------------------------------------

    def returnable(self) -> dict[int, int]:
        left = {i: line.delivered - line.returned for i, line in self.lines.items()}
        for back in self.returns.values():
            for line_id, quantity in back.lines.items():
                if back.state in OPEN:
                    left[line_id] -= quantity - back.received.get(line_id, 0)
        return left

    def request_return(self, it: c.RequestReturn) -> Outcome:
        left = self.returnable()
        last = {i: max(self.deliveries(i)) for i in summed(it.lines) if self.deliveries(i)}
        late = it.window is not None and any(it.at > at + it.window for at in last.values())
        refused = self.wrong_lines(it.lines, left) | codes({"return-window-closed": late})
        if refused:
            return refused
        self.returns[it.return_id] = SimpleNamespace(
            lines=summed(it.lines), received={}, state="REQUESTED"
        )
        return ["ReturnRequested"]

    def deliveries(self, line_id: int) -> list[datetime]:
        shipments = self.shipments.values()
        return [s.delivered_at for s in shipments if s.state == "DELIVERED" and line_id in s.lines]

    def answer(self, return_id: UUID, state: str, name: str) -> Outcome:
        back = self.returns.get(return_id)
        if back is None:
            return {"not-found"}
        if back.state != "REQUESTED":
            return {"return-not-pending"}
        back.state = state
        return [name]

    def approve_return(self, it: c.ApproveReturn) -> Outcome:
        return self.answer(it.return_id, "APPROVED", "ReturnApproved")

    def reject_return(self, it: c.RejectReturn) -> Outcome:
        return self.answer(it.return_id, "REJECTED", "ReturnRejected")

    def cancel_return(self, it: c.CancelReturn) -> Outcome:
        return self.answer(it.return_id, "CANCELED", "ReturnCanceled")

    def receive_return(self, it: c.ReceiveReturn) -> Outcome:
        back = self.returns.get(it.return_id)
        if back is None:
            return {"not-found"}
        left = {i: q - back.received.get(i, 0) for i, q in back.lines.items()}
        sums = {i: q for i, q in left.items() if q} if it.lines is None else summed(it.lines)
        wrong = it.lines is not None and (
            any(line.quantity < 1 for line in it.lines)
            or len({(line.line_id, line.condition) for line in it.lines}) < len(it.lines)
        )
        refused = codes({"return-not-pending": back.state != "APPROVED", "validation": wrong})
        refused |= self.wrong_lines(tuple(LineQuantity(i, q) for i, q in sums.items()), left)
        if refused:
            return refused
        before, kept = self.reached(), self.kept
        for line_id, quantity in sums.items():
            self.lines[line_id].returned += quantity
            back.received[line_id] = back.received.get(line_id, 0) + quantity
        if back.received == back.lines:
            back.state = "RECEIVED"
        if it.refund_shipping and not self.shipping_returned:
            self.shipping_returned = self.shipping
        refund = self.give_back(it.refund_id, kept - self.kept)
        return ["ReturnReceived", *refund, *self.milestones(before)]
