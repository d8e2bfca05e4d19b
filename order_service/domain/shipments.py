"""Decisions on shipments: dispatched, tracked, voided, delivered. Pure."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import ConfirmDelivery, Ship, UpdateTracking, VoidShipment
from order_service.domain.events import (
    OrderEvent,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentTrackingUpdated,
    ShipmentVoided,
)
from order_service.domain.evolve import evolve
from order_service.domain.holds import refuse_on_hold
from order_service.domain.parts import LineQuantity
from order_service.domain.refusals import (
    line_of,
    milestones,
    or_not_found,
    refuse_canceled,
    violation,
)
from order_service.domain.state import Order, Shipment
from order_service.errors import InvalidRequest


def ship(command: Ship, order: Order) -> tuple[OrderEvent, ...]:
    refuse_canceled(order, "ship")
    outstanding = {i: line.outstanding for i, line in order.lines.items() if line.outstanding}
    if not outstanding:
        raise violation(
            order,
            "nothing-to-ship",
            f"Cannot ship: no units are outstanding; the order is {rules.status(order)}.",
        )
    refuse_on_hold(order)
    if not command.allow_unpaid:
        _refuse_unpaid(order)
    lines = command.lines
    if lines is None:
        lines = tuple(LineQuantity(i, q) for i, q in outstanding.items())
    check_quantities(lines, outstanding, order, "ship")
    dispatched = ShipmentDispatched(
        command.shipment_id, lines, command.at, command.carrier, command.tracking_number
    )
    return (dispatched, *milestones(order, evolve(order, dispatched)))


def _refuse_unpaid(order: Order) -> None:
    due = rules.amount_due_minor(order)
    if rules.status(order) != "PENDING" and due == 0:
        return
    text = money.to_text(due, order.currency)
    raise violation(
        order,
        "payment-required",
        f"Cannot ship an order that is not paid: {text} {order.currency} are due. Record the "
        "payment first.",
    )


def check_quantities(
    lines: tuple[LineQuantity, ...], outstanding: Mapping[int, int], order: Order, what: str
) -> None:
    """Raises unless each line exists, is named once, and has that many units outstanding."""
    if not lines or len({line.line_id for line in lines}) < len(lines):
        raise InvalidRequest("validation", "Name at least one line, and each line once.")
    for line in lines:
        if line.quantity < 1:
            raise InvalidRequest("validation", "The quantity of a line must be at least 1.")
        line_of(order, line.line_id)
        left = outstanding.get(line.line_id, 0)
        if line.quantity > left:
            raise InvalidRequest(
                "quantity-exceeds-outstanding",
                f"Cannot {what} that many units of line {line.line_id}: {left} outstanding.",
                line_id=line.line_id,
                outstanding=left,
            )


def update_tracking(command: UpdateTracking, order: Order) -> tuple[OrderEvent, ...]:
    shipment = _shipment(order, command.shipment_id)
    _refuse_voided(order, shipment, "track")
    carrier = command.carrier or shipment.carrier
    number = command.tracking_number or shipment.tracking_number
    if (carrier, number) == (shipment.carrier, shipment.tracking_number):
        return ()
    return (ShipmentTrackingUpdated(shipment.shipment_id, carrier, number),)


def void_shipment(command: VoidShipment, order: Order) -> tuple[OrderEvent, ...]:
    shipment = _shipment(order, command.shipment_id)
    if shipment.voided:
        return ()
    if shipment.delivered_at is not None:
        raise violation(
            order,
            "shipment-delivered",
            "Cannot void a shipment that was delivered: take its units back as a return.",
        )
    return (ShipmentVoided(shipment.shipment_id, command.reason, command.text_ref),)


def confirm_delivery(command: ConfirmDelivery, order: Order) -> tuple[OrderEvent, ...]:
    """The named shipment, or every shipment in transit, is delivered."""
    shipments = list(order.shipments.values())
    if command.shipment_id is not None:
        shipments = [_shipment(order, command.shipment_id)]
        _refuse_voided(order, shipments[0], "deliver")
    in_transit = [s for s in shipments if not s.voided and s.delivered_at is None]
    events: list[OrderEvent] = [
        ShipmentDelivered(shipment.shipment_id, _delivered_at(command, shipment))
        for shipment in in_transit
    ]
    after = order
    for event in events:
        after = evolve(after, event)
    return (*events, *milestones(order, after))


def _delivered_at(command: ConfirmDelivery, shipment: Shipment) -> datetime:
    # The default is now, but not before the dispatch: another machine's clock may have timed that.
    if command.delivered_at is None:
        return max(command.at, shipment.dispatched_at)
    if not shipment.dispatched_at <= command.delivered_at <= command.at:
        raise InvalidRequest(
            "validation", "delivered_at must lie between the dispatch of the shipment and now."
        )
    return command.delivered_at


def _shipment(order: Order, shipment_id: UUID) -> Shipment:
    return or_not_found(order.shipments.get(shipment_id), "shipment")


def _refuse_voided(order: Order, shipment: Shipment, what: str) -> None:
    if shipment.voided:
        raise violation(order, "invalid-transition", f"Cannot {what} a shipment that was voided.")
