"""Cancellations, of the whole order or of units of a line."""

from typing import Annotated, Self
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    LinePath,
    changes,
    line_id_of,
    written,
)
from order_service.api.orders.fields import Quantity
from order_service.api.orders.permissions import check_cancel_window
from order_service.domain.commands import CancelOrder, CancelUnits
from order_service.domain.events import CancelReason
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Note
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}", tags=["cancellations"])


class CancelRequest(ChangeBody):
    reason: CancelReason
    note: Note | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.reason == "OTHER" and self.note is None:
            raise PydanticCustomError("note_missing", "The reason OTHER needs a note")
        return self


class CancelUnitsRequest(CancelRequest):
    quantity: Quantity


@router.post(
    "/cancel/",
    operation_id="orders_cancel",
    **changes("Cancel an order", "already-shipped", "cancel-window-closed"),
)
async def cancel_order(
    asking: AskingChangeDependency,
    body: Annotated[CancelRequest, Depends(json_body(CancelRequest))],
    order: OrderPath,
) -> Response:
    """The order is canceled, and what was paid for it is to be given back."""
    text_ref, texts = written("cancel", body.note)

    def command(folded: FoldedOrder) -> CancelOrder:
        check_cancel_window(asking.caller, folded, asking.settings, now())
        return CancelOrder(body.reason, uuid4(), text_ref)

    return await asking.carry_out(order, body, CancelOrder, command, texts)


@router.post(
    "/lines/{line_id}/cancel/",
    operation_id="lines_cancel_units",
    **changes(
        "Cancel units of a line",
        "forbidden",
        "line-not-found",
        "invalid-transition",
        "order-not-editable",
        "quantity-exceeds-outstanding",
    ),
)
async def cancel_units(
    asking: AskingChangeDependency,
    body: Annotated[CancelUnitsRequest, Depends(json_body(CancelUnitsRequest))],
    order: OrderPath,
    line_id: LinePath,
) -> Response:
    """Units that have not been shipped are not sold any more; the last of them cancel the order."""
    text_ref, texts = written("cancel_units", body.note)

    def command(_: FoldedOrder) -> CancelUnits:
        return CancelUnits(line_id_of(line_id), body.quantity, body.reason, uuid4(), text_ref)

    return await asking.carry_out(order, body, CancelUnits, command, texts)
