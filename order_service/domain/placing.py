"""Decisions on placing an order and editing it: lines, address, notes. Pure."""

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    AddLine,
    AddNote,
    ChangeLineQuantity,
    ChangeShippingAddress,
    PlaceOrder,
    RemoveLine,
)
from order_service.domain.events import (
    OrderEvent,
    OrderLine,
    OrderLineAdded,
    OrderLineQuantityChanged,
    OrderLineRemoved,
    OrderNoteAdded,
    OrderPaid,
    OrderPlaced,
    ShippingAddressChanged,
)
from order_service.domain.evolve import evolve
from order_service.domain.refusals import line_of, paid_milestone, violation
from order_service.domain.state import LINES_MAX, QUANTITY_MAX, Order
from order_service.errors import InvalidRequest


def place(command: PlaceOrder) -> tuple[OrderEvent, ...]:
    money.check_current(command.currency)
    total = _total_to_place(command)
    placed = OrderPlaced(
        command.user_id,
        command.currency,
        command.lines,
        command.shipping_fee_minor,
        command.discount_minor,
        total,
        command.external_reference,
        command.address_ref,
    )
    return (placed,) if total > 0 else (placed, OrderPaid(total_minor=0, captured_minor=0))


def _total_to_place(command: PlaceOrder) -> int:
    assert 1 <= len(command.lines) <= LINES_MAX
    prices = [line.unit_price_minor for line in command.lines]
    if None in prices:
        if any(price is not None for price in prices):
            raise InvalidRequest("validation", "Give all items a price, or none of them.")
        return _agreed_total(command)
    goods = sum((line.unit_price_minor or 0) * line.quantity for line in command.lines)
    total = _checked_total(goods + command.shipping_fee_minor - command.discount_minor)
    if command.total_price_minor not in (None, total):
        expected = money.to_text(total, command.currency)
        raise InvalidRequest(
            "total-mismatch",
            f"total_price must be {expected} {command.currency}, the sum of the items with "
            "shipping_fee and discount: send that, or leave total_price out.",
            expected=expected,
        )
    return total


def _agreed_total(command: PlaceOrder) -> int:
    if command.total_price_minor is None:
        raise InvalidRequest("validation", "Give every item a price, or the order a total_price.")
    if command.shipping_fee_minor or command.discount_minor:
        raise InvalidRequest(
            "validation",
            "An agreed total_price includes shipping_fee and discount: leave them out.",
        )
    return money.within_bounds(command.total_price_minor)


def _checked_total(total_minor: int) -> int:
    if total_minor < 0:
        raise InvalidRequest(
            "validation", "The discount must not exceed the items and the shipping_fee."
        )
    return money.within_bounds(total_minor)


# --- lines ----------------------------------------------------------------------------------------


def add_line(command: AddLine, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_uneditable(order)
    if command.unit_price_minor is None:
        raise InvalidRequest("validation", "Give the line a unit_price.")
    if len(order.lines) >= LINES_MAX:
        raise InvalidRequest("validation", f"An order has at most {LINES_MAX} lines.")
    line = OrderLine(
        order.last_line_id + 1,
        command.sku,
        command.name,
        _checked_quantity(command.quantity),
        command.unit_price_minor,
        command.attributes,
    )
    total = money.within_bounds(order.total_minor + command.unit_price_minor * line.quantity)
    return _with_paid_milestone(order, OrderLineAdded(line, total))


def change_line_quantity(command: ChangeLineQuantity, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_uneditable(order)
    line = line_of(order, command.line_id)
    present = line.line.quantity
    if command.quantity == present:
        return ()
    if _checked_quantity(command.quantity) <= line.canceled:
        raise InvalidRequest(
            "validation",
            f"The quantity must exceed the {line.canceled} units of the line that are canceled.",
        )
    changed = line.ordered(command.quantity)
    more = changed.worth(changed.active) - line.worth(line.active)
    total = money.within_bounds(order.total_minor + more)
    return _with_paid_milestone(
        order, OrderLineQuantityChanged(command.line_id, present, command.quantity, total)
    )


def remove_line(command: RemoveLine, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_uneditable(order)
    state = line_of(order, command.line_id)
    if not any(line.active for i, line in order.lines.items() if i != command.line_id):
        raise violation(
            order, "last-line", "Cannot remove the last line of an order: cancel the order instead."
        )
    total = order.total_minor - state.worth(state.active)
    return _with_paid_milestone(order, OrderLineRemoved(command.line_id, total))


def _with_paid_milestone(order: Order, event: OrderEvent) -> tuple[OrderEvent, ...]:
    return (event, *paid_milestone(evolve(order, event)))


def _refuse_uneditable(order: Order) -> None:
    has_payments = order.captured_minor or rules.authorized_minor(order)
    if order.agreed or has_payments or rules.status(order) != "PENDING":
        raise violation(
            order,
            "order-not-editable",
            "Cannot edit the lines: the order must be PENDING, without payments or open "
            "authorizations, and with a price on every line.",
        )


def _checked_quantity(quantity: int) -> int:
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidRequest("validation", f"A quantity must lie between 1 and {QUANTITY_MAX}.")
    return quantity


# --- address and notes ----------------------------------------------------------------------------


def change_shipping_address(command: ChangeShippingAddress, order: Order) -> tuple[OrderEvent, ...]:
    if order.cancel_reason or any(line.shipped for line in order.lines.values()):
        raise violation(
            order,
            "order-not-editable",
            "Cannot change the address: units have shipped, or the order is canceled.",
        )
    return (ShippingAddressChanged(command.address_ref),)


def add_note(command: AddNote) -> tuple[OrderEvent, ...]:
    return (OrderNoteAdded(command.note_id, command.visibility, command.text_ref),)
