"""The decision on an edit of an order, whatever has been paid and shipped of it. Pure.

Only what has not shipped changes: the quantity of a line never falls below its shipped and canceled
units, and a line of which units have shipped keeps its price, discount, tax and share.
"""

from collections.abc import Mapping

from msgspec import structs

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import EditOrder, LineEdit
from order_service.domain.events import OrderEdited, OrderEvent
from order_service.domain.evolve import evolve
from order_service.domain.lines import LineState, gross_minor, value_minor
from order_service.domain.parts import OrderLine
from order_service.domain.paying_back import refund_requests
from order_service.domain.placing import check_line
from order_service.domain.refunds import owed_for_units
from order_service.domain.refusals import line_of, milestones, paid_milestone, violation
from order_service.domain.state import LINES_MAX, QUANTITY_MAX, Order
from order_service.errors import InvalidRequest

Lines = dict[int, LineState]


def edit_order(command: EditOrder, order: Order) -> tuple[OrderEvent, ...]:
    """No events if nothing changes and the shop has already set the order's prices."""
    _refuse_uneditable(order)
    lines = _edited_lines(command, order)
    if command.discount_minor is not None:
        lines = _with_discount(command.discount_minor, lines, order)
    event = _event(command, lines, order)
    after = evolve(order, event)
    if after == order:
        return ()
    paid = paid_milestone(after)
    refunds: tuple[OrderEvent, ...] = ()
    if not command.keep_credit:
        owed = owed_for_units(order, after)
        refunds = refund_requests(after, owed, "edit", command.reason, command.refund_id)
    return (event, *refunds, *paid, *milestones(order, after))


def _refuse_uneditable(order: Order) -> None:
    if order.agreed or rules.status(order) in ("CANCELED", "RETURNED"):
        raise violation(
            order,
            "order-not-editable",
            "Cannot edit the order: it is canceled or returned, or has an agreed total.",
        )


def _event(command: EditOrder, lines: Lines, order: Order) -> OrderEdited:
    fee, tax = command.shipping_fee_minor, command.shipping_tax_minor
    fee = order.shipping_fee_minor if fee is None else fee
    tax = order.shipping_tax_minor if tax is None else tax
    discount = command.discount_minor
    total = fee if order.tax_included else fee + tax
    total += sum(line.worth(line.active) for line in lines.values())
    changed = [
        state.line
        for line_id, state in lines.items()
        if line_id not in order.lines or order.lines[line_id].line != state.line
    ]
    return OrderEdited(
        tuple(changed),
        tuple(line_id for line_id in order.lines if line_id not in lines),
        fee,
        tax,
        order.discount_minor if discount is None else discount,
        order.total_minor,
        money.within_bounds(total),
        command.text_ref,
    )


# --- lines ----------------------------------------------------------------------------------------


def _edited_lines(command: EditOrder, order: Order) -> Lines:
    edited = [*command.removed, *(edit.line_id for edit in command.changed)]
    if len(set(edited)) < len(edited):
        raise InvalidRequest("validation", "Name each line once.")
    lines: Lines = dict(order.lines)
    for line_id in command.removed:
        _refuse_shipped(line_of(order, line_id), order)
        del lines[line_id]
    for edit in command.changed:
        lines[edit.line_id] = _edited_line(edit, line_of(order, edit.line_id), order)
    last = order.last_line_id
    for number, added in enumerate(command.added, start=last + 1):
        lines[number] = _added_line(structs.replace(added, line_id=number), order)
    if not any(line.active for line in lines.values()):
        raise violation(
            order, "last-line", "Cannot remove all lines of an order: cancel the order instead."
        )
    if len(lines) > LINES_MAX:
        raise InvalidRequest("validation", f"An order has at most {LINES_MAX} lines.")
    return lines


def _added_line(line: OrderLine, order: Order) -> LineState:
    if line.unit_price_minor is None:
        raise InvalidRequest("validation", "Give each added line a unit_price.")
    check_line(line, order.currency)
    return LineState(line, value_minor=value_minor(line, order.tax_included))


def _edited_line(edit: LineEdit, state: LineState, order: Order) -> LineState:
    if edit.quantity is not None and edit.quantity != state.line.quantity:
        state = _ordered(edit.quantity, state, order)
    changes = {
        name: value
        for name in ("unit_price_minor", "discount_minor", "tax_minor", "tax_rate", "tax_name")
        if (value := getattr(edit, name)) is not None
    }
    if not changes:
        return state
    _refuse_shipped(state, order)
    line: OrderLine = structs.replace(state.line, **changes)
    if edit.unit_price_minor is not None:
        line = structs.replace(line, unit_price_scale=edit.unit_price_scale)
    check_line(line, order.currency)
    share = min(line.share_minor, gross_minor(line) - line.discount_minor)
    line = structs.replace(line, share_minor=share)
    return state._replace(line=line, value_minor=value_minor(line, order.tax_included))


def _ordered(quantity: int, state: LineState, order: Order) -> LineState:
    if state.returned:
        raise violation(
            order,
            "order-not-editable",
            f"Cannot change the quantity of line {state.line.line_id}: units of it came back. "
            "Add a line.",
        )
    least = max(1, state.canceled + max(1, state.shipped))
    if not least <= quantity <= QUANTITY_MAX:
        raise InvalidRequest(
            "validation",
            f"The quantity of line {state.line.line_id} must lie between {least}, for its shipped "
            f"and canceled units, and {QUANTITY_MAX}.",
        )
    return state.ordered(quantity, order.tax_included)


def _refuse_shipped(state: LineState, order: Order) -> None:
    if state.shipped:
        raise violation(
            order,
            "order-not-editable",
            f"Cannot remove or reprice line {state.line.line_id}: {state.shipped} of its units "
            "have shipped. Change its quantity, or add a line.",
        )


# --- the order's discount -------------------------------------------------------------------------


def _with_discount(discount_minor: int, lines: Lines, order: Order) -> Lines:
    """The lines with new shares of the order's discount: in proportion to what the units cost of
    which none have shipped. Those of the others stay."""
    open_lines = {i: line for i, line in lines.items() if not line.shipped and line.active}
    others = (line for i, line in lines.items() if i not in open_lines)
    kept = sum(line.line.share_minor for line in others)
    nets = [_net_of_active(line) for line in open_lines.values()]
    if not kept <= discount_minor <= kept + sum(nets):
        most = money.to_text(kept + sum(nets), order.currency)
        least = money.to_text(kept, order.currency)
        raise InvalidRequest(
            "discount-exceeds-goods",
            f"The discount must lie between {least} {order.currency}, which shipped lines have of "
            f"it, and {most}.",
            max_discount=most,
        )
    shares = money.allocate(discount_minor - kept, nets)
    shared: Mapping[int, LineState] = {
        line_id: _sharing(line, net - share, order)
        for (line_id, line), net, share in zip(open_lines.items(), nets, shares, strict=True)
    }
    return {**lines, **shared}


def _net_of_active(state: LineState) -> int:
    net = gross_minor(state.line) - state.line.discount_minor
    return money.part(net, state.active, state.line.quantity)


def _sharing(state: LineState, net_minor: int, order: Order) -> LineState:
    """The line whose active units cost `net_minor` after the order's discount, without tax."""
    line = state.line
    whole = gross_minor(line) - line.discount_minor
    net = min(whole, money.part(net_minor, line.quantity, state.active))
    line = structs.replace(line, share_minor=whole - net)
    return state._replace(line=line, value_minor=value_minor(line, order.tax_included))
