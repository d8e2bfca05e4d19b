"""The lines of an order that nobody has paid for yet."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    LinePath,
    changes,
    line_id_of,
)
from order_service.api.orders.fields import Item, Quantity, minor
from order_service.domain.commands import AddLine, ChangeLineQuantity, RemoveLine
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}/lines", tags=["lines"])


class AddLineRequest(ChangeBody, Item):
    """An item, as in the order itself."""


class RemoveLineRequest(ChangeBody):
    """Nothing but what every change may say."""


class ChangeQuantityRequest(ChangeBody):
    quantity: Quantity


@router.post(
    "/",
    operation_id="lines_add",
    **changes("Add a line", "order-not-editable"),
)
async def add_line(
    asking: AskingChangeDependency,
    body: Annotated[AddLineRequest, Depends(json_body(AddLineRequest))],
    order: OrderPath,
) -> Response:
    """The order has one more line, under the next `line_id`."""

    def command(folded: FoldedOrder) -> AddLine:
        price = None if body.unit_price is None else minor(body.unit_price, folded)
        return AddLine(body.sku, body.name, body.quantity, price, body.attributes)

    return await asking.carry_out(order, body, AddLine, command)


@router.patch(
    "/{line_id}/",
    operation_id="lines_change_quantity",
    **changes("Change a line's quantity", "line-not-found", "order-not-editable"),
)
async def change_quantity(
    asking: AskingChangeDependency,
    body: Annotated[ChangeQuantityRequest, Depends(json_body(ChangeQuantityRequest))],
    order: OrderPath,
    line_id: LinePath,
) -> Response:
    """That many units of the line are ordered."""
    return await asking.carry_out(
        order,
        body,
        ChangeLineQuantity,
        lambda _: ChangeLineQuantity(line_id_of(line_id), body.quantity),
    )


@router.delete(
    "/{line_id}/",
    operation_id="lines_remove",
    **changes("Remove a line", "line-not-found", "order-not-editable", "last-line"),
)
async def remove_line(
    asking: AskingChangeDependency,
    body: Annotated[RemoveLineRequest, Depends(json_body(RemoveLineRequest, optional=True))],
    order: OrderPath,
    line_id: LinePath,
) -> Response:
    """The line is gone; its number is not used again."""
    return await asking.carry_out(
        order, body, RemoveLine, lambda _: RemoveLine(line_id_of(line_id))
    )
