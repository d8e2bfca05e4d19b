"""Lines and shipments by the book."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from fractions import Fraction
from types import SimpleNamespace

from order_service.domain import commands as c
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from tests.support.model.facts import Facts, Line, Outcome, codes, half_up, shares


def line_of(line: OrderLine, tax_included: bool) -> Line:
    price = line.unit_price_minor
    return Line(
        None if price is None else Fraction(price, 10**line.unit_price_scale),
        line.quantity,
        discount=line.discount_minor,
        tax=0 if tax_included else line.tax_minor,
    )


def summed(lines: Iterable[LineQuantity | ReceivedQuantity]) -> dict[int, int]:
    sums: dict[int, int] = {}
    for line in lines:
        sums[line.line_id] = sums.get(line.line_id, 0) + line.quantity
    return sums


class Goods(Facts):
    def wrong_lines(self, lines: tuple[LineQuantity, ...], left: Mapping[int, int]) -> set[str]:
        sums = summed(lines)
        return codes(
            {
                "validation": not lines
                or len(sums) < len(lines)
                or any(line.quantity < 1 for line in lines),
                "line-not-found": any(i not in self.lines for i in sums),
                "quantity-exceeds-outstanding": any(q > left.get(i, 0) for i, q in sums.items()),
            }
        )

    # --- editing ----------------------------------------------------------------------------------

    def edited(self, line_id: int, wanted: int, refused: set[str], name: str) -> Outcome:
        """`wanted` units ordered of a line that is there; 0 takes it away."""
        refused |= codes(
            {
                "order-not-editable": self.agreed is not None
                or self.status != "PENDING"
                or self.captured + self.authorized > 0,
            }
        )
        if refused:
            return refused
        if wanted == 0:
            del self.lines[line_id]
        elif wanted != self.lines[line_id].ordered:
            self.lines[line_id].order(wanted)
        return [name, *self.first_paid()]

    def add_line(self, it: c.AddLine) -> Outcome:
        number = self.lines_ever + 1
        added = line_of(it.line, self.tax_included)
        self.lines[number] = added
        refused = codes(
            {
                "validation": it.line.unit_price_minor is None or it.line.quantity < 1,
                "discount-exceeds-goods": added.net < 0,
            }
        )
        outcome = self.edited(number, added.ordered, refused, "OrderLineAdded")
        if isinstance(outcome, set):
            del self.lines[number]
        else:
            self.lines_ever = number
        return outcome

    def change_line_quantity(self, it: c.ChangeLineQuantity) -> Outcome:
        if it.line_id not in self.lines:
            return {"line-not-found", "order-not-editable"}
        line = self.lines[it.line_id]
        refused = codes({"validation": it.quantity < 1 or it.quantity <= line.canceled})
        if it.quantity == line.ordered:
            outcome = self.edited(it.line_id, line.ordered, set(), "")
            return outcome if isinstance(outcome, set) else []
        return self.edited(it.line_id, max(1, it.quantity), refused, "OrderLineQuantityChanged")

    def remove_line(self, it: c.RemoveLine) -> Outcome:
        if it.line_id not in self.lines:
            return {"line-not-found", "order-not-editable"}
        others = [line.active for i, line in self.lines.items() if i != it.line_id]
        return self.edited(it.line_id, 0, codes({"last-line": not any(others)}), "OrderLineRemoved")

    def edit_order(self, it: c.EditOrder) -> Outcome:
        before, total, kept = self.reached(), self.total, self.kept
        past = deepcopy((self.lines, self.shipping, self.lines_ever, self.trusted))
        named = [*it.removed, *(edit.line_id for edit in it.changed)]
        refused = codes(
            {
                "order-not-editable": self.agreed is not None
                or self.status in ("CANCELED", "RETURNED")
                or any(i in it.removed and line.shipped for i, line in self.lines.items()),
                "line-not-found": not {*named} <= {*self.lines},
                "validation": len({*named}) < len(named),
            }
        )
        refused = refused or self.change_lines(it)
        if refused:
            self.lines, self.shipping, self.lines_ever, self.trusted = past
            return refused
        if it.shipping_fee_minor is not None:
            self.shipping = it.shipping_fee_minor + self.shipping_tax
        self.trusted = True
        if (self.lines, self.shipping, self.lines_ever, self.trusted) == past:
            return []
        paid_for = kept - self.kept - max(0, total - self.captured)
        refund = [] if it.keep_credit else self.give_back(it.refund_id, max(0, paid_for))
        return ["OrderEdited", *refund, *self.first_paid(), *self.milestones(before)]

    def change_lines(self, it: c.EditOrder) -> set[str]:
        """Changes the lines; what is refused is put back by the caller."""
        for line_id in it.removed:
            if self.lines.pop(line_id).shipped:
                return {"order-not-editable"}
        for edit in it.changed:
            line = self.lines[edit.line_id]
            if edit.quantity is not None and edit.quantity != line.ordered:
                if line.returned:
                    return {"order-not-editable"}
                if edit.quantity < line.canceled + max(1, line.shipped):
                    return {"validation"}
                line.order(edit.quantity)
            if edit.unit_price_minor is None and edit.discount_minor is None:
                continue
            if line.shipped:
                return {"order-not-editable"}
            if edit.unit_price_minor is not None:
                line.price = Fraction(edit.unit_price_minor, 10**edit.unit_price_scale)
            if edit.discount_minor is not None:
                line.discount = edit.discount_minor
            if line.net < 0:
                return {"discount-exceeds-goods"}
            line.share = min(line.share, line.net)
            line.renew()
        for given in it.added:
            added = line_of(given, self.tax_included)
            self.lines_ever += 1
            self.lines[self.lines_ever] = added
            if given.unit_price_minor is None or added.net < 0:
                return {"validation", "discount-exceeds-goods"}
        if not any(line.active for line in self.lines.values()):
            return {"last-line"}
        return set() if it.discount_minor is None else self.share_out(it.discount_minor)

    def share_out(self, discount: int) -> set[str]:
        sold = [line for line in self.lines.values() if line.active and not line.shipped]
        rest = discount - sum(line.share for line in self.lines.values() if line not in sold)
        nets = [half_up(Fraction(line.net * line.active, line.ordered)) for line in sold]
        if not 0 <= rest <= sum(nets):
            return {"discount-exceeds-goods"}
        for line, net, share in zip(sold, nets, shares(rest, nets), strict=True):
            spread = half_up(Fraction((net - share) * line.ordered, line.active))
            line.share = line.net - min(line.net, spread)
            line.renew()
        return set()

    def hold_order(self, it: c.HoldOrder) -> Outcome:
        if self.status in ("CANCELED", "RETURNED"):
            return {"invalid-transition"}
        self.holds[it.hold_id] = "HELD"
        return ["OrderHeld"]

    def release_hold(self, it: c.ReleaseHold) -> Outcome:
        if it.hold_id not in self.holds:
            return {"not-found"}
        if self.holds[it.hold_id] == "RELEASED":
            return []
        self.holds[it.hold_id] = "RELEASED"
        return ["OrderHoldReleased"]

    def change_shipping_address(self, it: c.ChangeShippingAddress) -> Outcome:
        touched = self.sum("shipped") > 0 or self.canceled
        return {"order-not-editable"} if touched else ["ShippingAddressChanged"]

    def change_billing_address(self, it: c.ChangeBillingAddress) -> Outcome:
        return ["BillingAddressChanged"]

    def change_contact(self, it: c.ChangeContact) -> Outcome:
        return ["ContactChanged"]

    def set_metadata(self, it: c.SetMetadata) -> Outcome:
        after = {**self.metadata, **it.values}
        kept = {key: value for key, value in after.items() if value is not None}
        if kept == self.metadata:
            return []
        if len(kept) > 50:
            return {"validation"}
        self.metadata = kept
        return ["OrderMetadataChanged"]

    def set_tags(self, it: c.SetTags) -> Outcome:
        if it.tags == self.tags:
            return []
        self.tags = it.tags
        return ["OrderTagged"]

    def add_note(self, it: c.AddNote) -> Outcome:
        return ["OrderNoteAdded"]

    # --- shipments --------------------------------------------------------------------------------

    def ship(self, it: c.Ship) -> Outcome:
        before = self.reached()
        left = {i: line.outstanding for i, line in self.lines.items() if line.outstanding}
        wanted = it.lines
        if wanted is None:
            wanted = tuple(LineQuantity(i, q) for i, q in left.items())
        refused = codes(
            {
                "invalid-transition": self.canceled,
                "payment-required": (self.status == "PENDING" or self.due > 0)
                and not it.allow_unpaid,
                "nothing-to-ship": not left,
                "order-on-hold": "HELD" in self.holds.values(),
            }
        ) | self.wrong_lines(wanted, left)
        if refused:
            return refused
        for line_id, quantity in summed(wanted).items():
            self.lines[line_id].shipped += quantity
        self.shipments[it.shipment_id] = SimpleNamespace(
            lines=summed(wanted),
            state="SENT",
            sent_at=it.at,
            delivered_at=None,
            tracking=(it.carrier, it.tracking_number),
        )
        return ["ShipmentDispatched", *self.milestones(before)]

    def update_tracking(self, it: c.UpdateTracking) -> Outcome:
        shipment = self.shipments.get(it.shipment_id)
        if shipment is None:
            return {"not-found"}
        if shipment.state == "VOIDED":
            return {"invalid-transition"}
        carrier, number = before = shipment.tracking
        shipment.tracking = (it.carrier or carrier, it.tracking_number or number)
        return [] if shipment.tracking == before else ["ShipmentTrackingUpdated"]

    def void_shipment(self, it: c.VoidShipment) -> Outcome:
        shipment = self.shipments.get(it.shipment_id)
        if shipment is None:
            return {"not-found"}
        if shipment.state == "DELIVERED":
            return {"shipment-delivered"}
        if shipment.state == "VOIDED":
            return []
        shipment.state = "VOIDED"
        for line_id, quantity in shipment.lines.items():
            self.lines[line_id].shipped -= quantity
        return ["ShipmentVoided"]

    def confirm_delivery(self, it: c.ConfirmDelivery) -> Outcome:
        before = self.reached()
        named = self.shipments.get(it.shipment_id) if it.shipment_id else None
        if it.shipment_id and named is None:
            return {"not-found"}
        if named and named.state == "VOIDED":
            return {"invalid-transition"}
        asked = [named] if named else self.shipments.values()
        arriving = [shipment for shipment in asked if shipment.state == "SENT"]
        at = it.delivered_at
        if at and not all(shipment.sent_at <= at <= it.at for shipment in arriving):
            return {"validation"}
        for shipment in arriving:
            shipment.state = "DELIVERED"
            shipment.delivered_at = at or max(it.at, shipment.sent_at)
            for line_id, quantity in shipment.lines.items():
                self.lines[line_id].delivered += quantity
        return ["ShipmentDelivered" for _ in arriving] + self.milestones(before)
