"""Shipments: dispatched, tracked, voided, delivered."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    PartPath,
    changes,
    part_id,
    written,
)
from order_service.api.orders.fields import Lines, quantities
from order_service.domain.commands import ConfirmDelivery, Ship, UpdateTracking, VoidShipment
from order_service.domain.events import ShipmentVoidReason
from order_service.ids import now
from order_service.web.fields import ChangeBody, Note, Time, Words
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}/shipments", tags=["shipments"])


class ShipRequest(ChangeBody):
    """Without `lines`: everything that is outstanding."""

    lines: Lines | None = None
    carrier: Words | None = None
    tracking_number: Words | None = None


class UpdateTrackingRequest(ChangeBody):
    """What is left out stays as it is."""

    carrier: Words | None = None
    tracking_number: Words | None = None


class VoidShipmentRequest(ChangeBody):
    reason: ShipmentVoidReason
    note: Note | None = None


class ConfirmDeliveryRequest(ChangeBody):
    """Without `delivered_at`: now."""

    delivered_at: Time | None = None


@router.post(
    "/",
    operation_id="shipments_dispatch",
    **changes(
        "Ship units",
        "forbidden",
        "line-not-found",
        "invalid-transition",
        "payment-required",
        "nothing-to-ship",
        "quantity-exceeds-outstanding",
    ),
)
async def dispatch(
    asking: AskingChangeDependency,
    body: Annotated[ShipRequest, Depends(json_body(ShipRequest, optional=True))],
    order: OrderPath,
) -> Response:
    """A parcel is on its way."""
    command = Ship(
        shipment_id=uuid4(),
        lines=None if body.lines is None else quantities(body.lines),
        at=now(),
        carrier=body.carrier,
        tracking_number=body.tracking_number,
        allow_unpaid=asking.settings.ALLOW_SHIP_UNPAID,
    )
    return await asking.carry_out(order, body, Ship, lambda _: command)


@router.patch(
    "/{shipment_id}/",
    operation_id="shipments_update_tracking",
    **changes("Change a shipment's tracking", "forbidden", "not-found", "invalid-transition"),
)
async def update_tracking(
    asking: AskingChangeDependency,
    body: Annotated[
        UpdateTrackingRequest, Depends(json_body(UpdateTrackingRequest, optional=True))
    ],
    order: OrderPath,
    shipment_id: PartPath,
) -> Response:
    """The parcel's carrier and tracking number are known."""
    return await asking.carry_out(
        order,
        body,
        UpdateTracking,
        lambda _: UpdateTracking(part_id(shipment_id), body.carrier, body.tracking_number),
    )


@router.post(
    "/{shipment_id}/void/",
    operation_id="shipments_void",
    **changes("Void a shipment", "forbidden", "not-found", "shipment-delivered"),
)
async def void_shipment(
    asking: AskingChangeDependency,
    body: Annotated[VoidShipmentRequest, Depends(json_body(VoidShipmentRequest))],
    order: OrderPath,
    shipment_id: PartPath,
) -> Response:
    """The parcel never left, or will not arrive: its units are outstanding again."""
    text_ref, texts = written("void_shipment", body.note)
    return await asking.carry_out(
        order,
        body,
        VoidShipment,
        lambda _: VoidShipment(part_id(shipment_id), body.reason, text_ref),
        texts,
    )


@router.post(
    "/{shipment_id}/delivered/",
    operation_id="shipments_confirm_delivery",
    **changes("Confirm a delivery", "forbidden", "not-found", "invalid-transition"),
)
async def confirm_delivery(
    asking: AskingChangeDependency,
    body: Annotated[
        ConfirmDeliveryRequest, Depends(json_body(ConfirmDeliveryRequest, optional=True))
    ],
    order: OrderPath,
    shipment_id: PartPath,
) -> Response:
    """The parcel has arrived."""
    return await asking.carry_out(
        order,
        body,
        ConfirmDelivery,
        lambda _: ConfirmDelivery(part_id(shipment_id), body.delivered_at, now()),
    )
