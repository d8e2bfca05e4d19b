"""Decisions on placing an order and changing the lines of an unpaid one. Pure."""

from msgspec import structs

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    AddLine,
    ChangeLineQuantity,
    PlaceOrder,
    RemoveLine,
)
from order_service.domain.events import (
    OrderEvent,
    OrderLineAdded,
    OrderLineQuantityChanged,
    OrderLineRemoved,
    OrderPaid,
    OrderPlaced,
)
from order_service.domain.evolve import evolve
from order_service.domain.lines import gross_minor, value_minor
from order_service.domain.parts import OrderLine
from order_service.domain.refusals import line_of, paid_milestone, violation
from order_service.domain.state import LINES_MAX, QUANTITY_MAX, Order
from order_service.errors import InvalidRequest, RuleViolation


def place(command: PlaceOrder) -> tuple[OrderEvent, ...]:
    money.check_current(command.currency)
    lines = _with_shares(command)
    total = _total_to_place(command, lines)
    placed = OrderPlaced(
        command.user_id,
        command.currency,
        lines,
        command.shipping_fee_minor,
        command.discount_minor,
        total,
        command.external_reference,
        command.address_ref,
        shipping_tax_minor=command.shipping_tax_minor,
        tax_included=command.tax_included,
        prices_trusted=command.prices_trusted,
        billing_address_ref=command.billing_address_ref,
        contact_ref=command.contact_ref,
        metadata=command.metadata,
        tags=command.tags,
        text_ref=command.text_ref,
    )
    if total > 0 or not command.prices_trusted:
        return (placed,)
    return (placed, OrderPaid(total_minor=0, captured_minor=0))


def _with_shares(command: PlaceOrder) -> tuple[OrderLine, ...]:
    """The lines with their shares of the order's discount, in proportion to their net prices."""
    if command.discount_minor == 0 or _is_unpriced(command):
        return command.lines
    nets = [gross_minor(line) - line.discount_minor for line in command.lines]
    if command.discount_minor > sum(nets):
        most = money.to_text(max(0, sum(nets)), command.currency)
        raise InvalidRequest(
            "discount-exceeds-goods",
            f"The discount is more than the goods cost: send at most {most} {command.currency}, "
            "and a lower shipping_fee if shipping is reduced as well.",
            max_discount=most,
        )
    shares = money.allocate(command.discount_minor, nets)
    return tuple(
        structs.replace(line, share_minor=share)
        for line, share in zip(command.lines, shares, strict=True)
    )


def _is_unpriced(command: PlaceOrder) -> bool:
    """Whether no line has a price. Raises `InvalidRequest` if only some have one."""
    prices = [line.unit_price_minor for line in command.lines]
    if None not in prices:
        return False
    if any(price is not None for price in prices):
        raise InvalidRequest("validation", "Give all items a price, or none of them.")
    return True


def _total_to_place(command: PlaceOrder, lines: tuple[OrderLine, ...]) -> int:
    assert 1 <= len(lines) <= LINES_MAX
    if _is_unpriced(command):
        return _agreed_total(command)
    total = command.shipping_fee_minor
    if not command.tax_included:
        total += command.shipping_tax_minor
    for line in lines:
        check_line(line, command.currency)
        total += value_minor(line, command.tax_included)
    money.within_bounds(total)
    if command.total_price_minor not in (None, total):
        expected = money.to_text(total, command.currency)
        raise InvalidRequest(
            "total-mismatch",
            f"total_price must be {expected} {command.currency}, the sum of the items with "
            "shipping_fee, discounts and taxes that are not included: send that, or leave "
            "total_price out.",
            expected=expected,
        )
    return total


def _agreed_total(command: PlaceOrder) -> int:
    if command.total_price_minor is None:
        raise InvalidRequest("validation", "Give every item a price, or the order a total_price.")
    parts = [command.shipping_fee_minor, command.discount_minor, command.shipping_tax_minor]
    if any(parts) or any(line.discount_minor or line.tax_minor for line in command.lines):
        raise InvalidRequest(
            "validation",
            "An agreed total_price includes shipping_fee, discounts and taxes: leave them out.",
        )
    return money.within_bounds(command.total_price_minor)


def check_line(line: OrderLine, currency: str) -> None:
    """Raises `InvalidRequest` for a priced line that names nothing, or a discount beyond its
    price."""
    if line.sku is None and line.name is None:
        raise InvalidRequest(
            "validation", "Give every item a sku or a name, or the order a total_price instead."
        )
    gross = gross_minor(line)
    if line.discount_minor > gross:
        raise InvalidRequest(
            "discount-exceeds-goods",
            f"The discount of line {line.line_id} is more than the line costs: send at most "
            f"{money.to_text(gross, currency)} {currency}.",
            max_discount=money.to_text(gross, currency),
        )


# --- lines ----------------------------------------------------------------------------------------


def add_line(command: AddLine, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_uneditable(order)
    if command.prices == "refused" or (command.prices == "accepted" and order.prices_trusted):
        raise prices_not_trusted("add lines: the shop has set this order's prices")
    line = structs.replace(command.line, line_id=order.last_line_id + 1)
    if line.unit_price_minor is None:
        raise InvalidRequest("validation", "Give the line a unit_price.")
    if len(order.lines) >= LINES_MAX:
        raise InvalidRequest("validation", f"An order has at most {LINES_MAX} lines.")
    _checked_quantity(line.quantity)
    check_line(line, order.currency)
    total = money.within_bounds(order.total_minor + value_minor(line, order.tax_included))
    return _with_paid_milestone(order, OrderLineAdded(line, total))


def prices_not_trusted(what: str) -> RuleViolation:
    return RuleViolation(
        "prices-not-trusted", f"An order's owner cannot {what}. Ask the shop's staff."
    )


def change_line_quantity(command: ChangeLineQuantity, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_uneditable(order)
    line = line_of(order, command.line_id)
    present = line.line.quantity
    if command.quantity == present:
        return ()
    if command.quantity > present and command.prices == "refused":
        raise prices_not_trusted("order more units: only reduce and remove lines")
    if _checked_quantity(command.quantity) <= line.canceled:
        raise InvalidRequest(
            "validation",
            f"The quantity must exceed the {line.canceled} units of the line that are canceled.",
        )
    changed = line.ordered(command.quantity, order.tax_included)
    more = changed.worth(changed.active) - line.worth(line.active)
    after = changed.line
    return _with_paid_milestone(
        order,
        OrderLineQuantityChanged(
            command.line_id,
            present,
            command.quantity,
            money.within_bounds(order.total_minor + more),
            after.discount_minor,
            after.share_minor,
            after.tax_minor,
        ),
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
            "Cannot change the lines: the order must be PENDING, without payments or open "
            "authorizations, and with a price on every line. The shop may edit it at any time: "
            "POST /orders/{order_id}/edit/.",
        )


def _checked_quantity(quantity: int) -> int:
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidRequest("validation", f"A quantity must lie between 1 and {QUANTITY_MAX}.")
    return quantity
