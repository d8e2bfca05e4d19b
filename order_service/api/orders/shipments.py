"""Shipments: dispatched, tracked, voided, delivered."""

from uuid import UUID, uuid4

from order_service.api.orders.command_context import CommandContext
from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Lines, PartPath, part_id, quantities
from order_service.domain.commands import ConfirmDelivery, Ship, UpdateTracking, VoidShipment
from order_service.domain.parts import ShipmentVoidReason
from order_service.ids import now
from order_service.web.fields import ChangeBody, Note, Time, Words

router = CommandRouter(prefix="/orders/{order_id}/shipments", tags=["shipments"])


class ShipRequest(ChangeBody):
    """The default of `lines` is all outstanding units."""

    lines: Lines | None = None
    carrier: Words | None = None
    tracking_number: Words | None = None


class UpdateTrackingRequest(ChangeBody):
    """Members that are left out keep their values."""

    carrier: Words | None = None
    tracking_number: Words | None = None


class VoidShipmentRequest(ChangeBody):
    reason: ShipmentVoidReason
    note: Note | None = None


class ConfirmDeliveryRequest(ChangeBody):
    """The default of `delivered_at` is now."""

    delivered_at: Time | None = None


@router.command(
    "POST",
    "/",
    Ship,
    operation_id="shipments_dispatch",
    summary="Ship units",
    problems=(
        "line-not-found",
        "invalid-transition",
        "payment-required",
        "order-on-hold",
        "nothing-to-ship",
        "quantity-exceeds-outstanding",
    ),
)
def dispatch(body: ShipRequest, context: CommandContext) -> Ship:
    """Records that a shipment of these units was dispatched."""
    return Ship(
        shipment_id=uuid4(),
        lines=None if body.lines is None else quantities(body.lines),
        at=now(),
        carrier=body.carrier,
        tracking_number=body.tracking_number,
        allow_unpaid=context.settings.ALLOW_SHIP_UNPAID,
    )


@router.command(
    "PATCH",
    "/{shipment_id}/",
    UpdateTracking,
    operation_id="shipments_update_tracking",
    summary="Change a shipment's tracking",
    problems=("not-found", "invalid-transition"),
)
def update_tracking(body: UpdateTrackingRequest, shipment_id: PartPath) -> UpdateTracking:
    """Changes the shipment's carrier and tracking number."""
    return UpdateTracking(part_id(shipment_id), body.carrier, body.tracking_number)


@router.command(
    "POST",
    "/{shipment_id}/void/",
    VoidShipment,
    operation_id="shipments_void",
    summary="Void a shipment",
    problems=("not-found", "shipment-delivered"),
    text_kind="void_shipment",
)
def void_shipment(
    body: VoidShipmentRequest, text_ref: UUID | None, shipment_id: PartPath
) -> VoidShipment:
    """Records that the shipment never left or will not arrive: its units are outstanding again."""
    return VoidShipment(part_id(shipment_id), body.reason, text_ref)


@router.command(
    "POST",
    "/{shipment_id}/delivered/",
    ConfirmDelivery,
    operation_id="shipments_confirm_delivery",
    summary="Confirm a delivery",
    problems=("not-found", "invalid-transition"),
)
def confirm_delivery(body: ConfirmDeliveryRequest, shipment_id: PartPath) -> ConfirmDelivery:
    """Records that the shipment was delivered."""
    return ConfirmDelivery(part_id(shipment_id), body.delivered_at, now())
