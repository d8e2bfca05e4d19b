"""`PATCH /orders/{id}/`: the shorthand that sets a status."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from order_service.api.orders.command_context import (
    ChangeContextDependency,
    CommandContext,
    fast_path_context,
)
from order_service.api.orders.command_route import execute, route_options
from order_service.api.orders.fields import free_text
from order_service.api.orders.permissions import STATUS_SCOPES, check_cancel_window, may_set
from order_service.domain.commands import ChangeStatus, TargetStatus
from order_service.domain.parts import CancelReason
from order_service.domain.state import Status
from order_service.errors import InvalidRequest
from order_service.ids import now
from order_service.log.fold import FoldedOrder
from order_service.web.fast_path import ParsedRequest
from order_service.web.fields import ChangeBody, Note, Words
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath
from order_service.web.query_parameters import known_parameters
from order_service.web.responses import Reply

router = APIRouter(prefix="/orders", tags=["orders"])

_ROUTE = "PATCH /orders/{order_id}/"  # of the fingerprint


class ChangeStatusRequest(ChangeBody):
    """`reason` counts with the status CANCELED only, `tracking_number` with SHIPPED only; a `note`
    counts with any."""

    status: Status
    reason: CancelReason | None = None
    note: Note | None = None
    tracking_number: Words | None = None

    @property
    def target(self) -> TargetStatus:
        if self.status == "PARTIALLY_SHIPPED" or self.status == "RETURNED":  # mypy narrows this
            raise InvalidRequest(
                "status-not-settable",
                f"Cannot set {self.status}: it follows from shipments and returns.",
            )
        return self.status


_status_body = json_body(ChangeStatusRequest)


@router.patch(
    "/{order_id}/",
    operation_id="orders_change_status",
    **route_options(
        "Set an order's status",
        "forbidden",
        "invalid-transition",
        "payment-required",
        "order-on-hold",
        "already-shipped",
        "cancel-window-closed",
        "status-not-settable",
        scopes=tuple(dict.fromkeys(STATUS_SCOPES.values())),
    ),
)
async def change_status(
    request: Request,
    context: ChangeContextDependency,
    body: Annotated[ChangeStatusRequest, Depends(_status_body)],
    order: OrderPath,
) -> Response:
    """Sets the status. An order that has it already is answered as it is, without a new version."""
    await known_parameters(request)
    return (await _set_status(context, order, body)).response()


async def patch_on_fast_path(parsed: ParsedRequest) -> Reply:
    """`change_status` on the fast path."""
    context = fast_path_context(parsed, order_exists=True)
    return await _set_status(context, str(parsed.order_id), _status_body.parse(parsed.body))


async def _set_status(context: CommandContext, order: str, body: ChangeStatusRequest) -> Reply:
    """Executes the change. `order`: id or number."""
    caller, settings = context.caller, context.settings
    target = body.target
    text_ref, texts = free_text("status", body.note)

    def command(folded: FoldedOrder) -> ChangeStatus:
        if target == "CANCELED":
            check_cancel_window(caller, folded, settings, now())
        return ChangeStatus(
            to=target,
            new_id=uuid4(),
            at=now(),
            reason=body.reason or ("OTHER" if caller.acts_for_shop else "CUSTOMER_REQUEST"),
            text_ref=text_ref,
            note_visibility="internal" if caller.acts_for_shop else "public",
            tracking_number=body.tracking_number,
            source="self_service" if caller.grant is None and not caller.is_staff else "manual",
        )

    def authorize() -> None:
        may_set(caller, target, settings)

    return await execute(context, _ROUTE, order, body, command, texts, authorize)
