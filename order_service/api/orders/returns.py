"""Returns: requested, approved, rejected, canceled, received."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from order_service.api.orders.asking import (
    AskingChangeDependency,
    PartPath,
    changes,
    part_id,
    written,
)
from order_service.api.orders.fields import Lines, LineUnits, quantities
from order_service.api.orders.permissions import return_window
from order_service.domain.commands import (
    ApproveReturn,
    CancelReturn,
    ReceiveReturn,
    RejectReturn,
    RequestReturn,
)
from order_service.domain.events import ReceivedQuantity, ReturnCondition, ReturnReason
from order_service.domain.state import LINES_MAX
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody, Note
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders/{order_id}/returns", tags=["returns"])


class RequestReturnRequest(ChangeBody):
    lines: Lines
    reason: ReturnReason
    note: Note | None = None


class DecideReturnRequest(ChangeBody):
    """Nothing needs to be said."""


class RejectReturnRequest(ChangeBody):
    note: Note | None = None


class ReceivedUnits(LineUnits):
    condition: ReturnCondition


class ReceiveReturnRequest(ChangeBody):
    """Without `lines`: everything that was approved and has not come yet, fit to be sold."""

    # A line may come in two conditions.
    lines: list[ReceivedUnits] | None = Field(default=None, min_length=1, max_length=2 * LINES_MAX)

    def command(self, return_id: str) -> ReceiveReturn:
        lines = None
        if self.lines is not None:
            lines = tuple(
                ReceivedQuantity(line.line_id, line.quantity, line.condition) for line in self.lines
            )
        return ReceiveReturn(part_id(return_id), lines, uuid4())


_DecideBody = Annotated[DecideReturnRequest, Depends(json_body(DecideReturnRequest, optional=True))]


@router.post(
    "/",
    operation_id="returns_request",
    **changes(
        "Request a return", "line-not-found", "return-window-closed", "quantity-exceeds-outstanding"
    ),
)
async def request_return(
    asking: AskingChangeDependency,
    body: Annotated[RequestReturnRequest, Depends(json_body(RequestReturnRequest))],
    order: OrderPath,
) -> Response:
    """Units are to come back; owners may ask for it for a while after their delivery."""
    text_ref, texts = written("return", body.note)
    window = return_window(asking.caller, asking.settings)

    def command(_: FoldedOrder) -> RequestReturn:
        lines = quantities(body.lines)
        return RequestReturn(uuid4(), lines, body.reason, now(), window, text_ref)

    return await asking.carry_out(order, body, RequestReturn, command, texts)


@router.post(
    "/{return_id}/approve/",
    operation_id="returns_approve",
    **changes("Approve a return", "forbidden", "not-found", "return-not-pending"),
)
async def approve_return(
    asking: AskingChangeDependency, body: _DecideBody, order: OrderPath, return_id: PartPath
) -> Response:
    """The units may be sent."""
    return await asking.carry_out(
        order, body, ApproveReturn, lambda _: ApproveReturn(part_id(return_id))
    )


@router.post(
    "/{return_id}/reject/",
    operation_id="returns_reject",
    **changes("Reject a return", "forbidden", "not-found", "return-not-pending"),
)
async def reject_return(
    asking: AskingChangeDependency,
    body: Annotated[RejectReturnRequest, Depends(json_body(RejectReturnRequest, optional=True))],
    order: OrderPath,
    return_id: PartPath,
) -> Response:
    """The units are not taken back."""
    text_ref, texts = written("reject_return", body.note)
    return await asking.carry_out(
        order, body, RejectReturn, lambda _: RejectReturn(part_id(return_id), text_ref), texts
    )


@router.post(
    "/{return_id}/cancel/",
    operation_id="returns_cancel",
    **changes("Cancel a return", "not-found", "return-not-pending"),
)
async def cancel_return(
    asking: AskingChangeDependency, body: _DecideBody, order: OrderPath, return_id: PartPath
) -> Response:
    """The units stay where they are."""
    return await asking.carry_out(
        order, body, CancelReturn, lambda _: CancelReturn(part_id(return_id))
    )


@router.post(
    "/{return_id}/receive/",
    operation_id="returns_receive",
    **changes(
        "Receive a return",
        "forbidden",
        "not-found",
        "line-not-found",
        "return-not-pending",
        "quantity-exceeds-outstanding",
    ),
)
async def receive_return(
    asking: AskingChangeDependency,
    body: Annotated[ReceiveReturnRequest, Depends(json_body(ReceiveReturnRequest, optional=True))],
    order: OrderPath,
    return_id: PartPath,
) -> Response:
    """Units are back, and what was paid for them is to be given back."""
    return await asking.carry_out(order, body, ReceiveReturn, lambda _: body.command(return_id))
