"""`GET /orders/{id}/actions/`: what the caller may do with the order now, until when, and why
other actions are refused.

No rule is written twice: each action has sample commands (probes). A probe goes through the routes'
own checks of role and time, then through the decider. Their refusal is the reason in the answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args
from uuid import uuid4

from fastapi import APIRouter, Depends
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from order_service.api.orders.permissions import (
    cancel_until,
    check_cancel_window,
    may_command,
    may_set,
    price_authority,
    return_window,
    visible_to,
)
from order_service.documents import actions as documents
from order_service.documents.shape import json_time
from order_service.domain import commands as c
from order_service.domain.order import decide
from order_service.domain.parts import LineQuantity, OrderLine
from order_service.domain.state import QUANTITY_MAX, status
from order_service.errors import OrderNotFound, OrderServiceError
from order_service.ids import now
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from order_service.web.identity import Caller, CallerDependency, caller, check_scope
from order_service.web.openapi.annotations import documented
from order_service.web.order_path import OrderPath
from order_service.web.query_parameters import known_parameters
from order_service.web.responses import json_answer

router = APIRouter(prefix="/orders", tags=["orders"])

_HEADERS = {"Cache-Control": "private, no-store", "Vary": "Authorization"}


@dataclass(frozen=True, slots=True)
class Action:
    """One operation, by its OpenAPI name. `probes`: the action is allowed if one of them is;
    `body`: the members of the request's body that select this action."""

    name: str
    method: str
    path: str
    probes: tuple[c.OrderCommand, ...]
    until: datetime | None = None
    body: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _ActionContext:
    """The caller, the order and the time that probes are checked for."""

    caller: Caller
    folded: FoldedOrder
    settings: Settings
    at: datetime


@router.get(
    "/{order_id}/actions/",
    operation_id="orders_actions",
    summary="List what may be done with an order now",
    response_model=documents.Actions,
    responses=documented("order-unreadable", scopes=("orders:read",)),
    dependencies=[Depends(caller), Depends(known_parameters)],
)
async def get_actions(request: Request, caller: CallerDependency, order: OrderPath) -> Response:
    """Each action for this caller, on the order's newest version: whether it is `allowed`,
    `until` when if its time is limited, and the `reason` if it is refused."""
    check_scope(caller, "orders:read")
    log: EventLog = request.app.state.log
    order_id = await log.resolve(order)
    folded = await log.read(order_id)
    if folded is None:
        raise OrderNotFound
    visible_to(caller, folded)
    context = _ActionContext(caller, folded, request.app.state.settings, now())
    listed = [_as_document(action, context) for action in _actions(context)]
    return json_answer(documents.Actions(listed), headers=_HEADERS)


def _as_document(action: Action, context: _ActionContext) -> documents.Action:
    refusal = _refusal(action, context)
    return documents.Action(
        action.name,
        action.method,
        f"/orders/{context.folded.id}/{action.path}",
        refusal is None,
        action.body or UNSET,
        UNSET if action.until is None else json_time(action.until),
        UNSET if refusal is None else documents.Reason(f"/problems/{refusal.code}", refusal.detail),
    )


def _refusal(action: Action, context: _ActionContext) -> OrderServiceError | None:
    """None if a probe is allowed; else the refusal of the first probe."""
    first = None
    for probe in action.probes:
        try:
            _check(probe, context)
        except OrderServiceError as error:
            first = first or error
        else:
            return None
    return first


def _check(probe: c.OrderCommand, context: _ActionContext) -> None:
    if isinstance(probe, c.ChangeStatus):
        may_set(context.caller, probe.to, context.settings)
    else:
        may_command(context.caller, type(probe))
    if isinstance(probe, c.CancelOrder) or (
        isinstance(probe, c.ChangeStatus) and probe.to == "CANCELED"
    ):
        check_cancel_window(context.caller, context.folded, context.settings, context.at)
    decide(probe, context.folded.order)


# --- the actions of an order ----------------------------------------------------------------------


def _actions(context: _ActionContext) -> Iterator[Action]:
    yield from _order_actions(context)
    yield from _line_actions(context)
    yield from _payment_actions(context)
    yield from _shipment_actions(context)
    yield from _refund_actions(context)
    yield from _return_actions(context)


def _order_actions(context: _ActionContext) -> Iterator[Action]:
    cancel_ends = cancel_until(context.caller, context.folded, context.settings)
    for target in get_args(c.TargetStatus):
        if target not in ("PENDING", status(context.folded.order)):
            probe = c.ChangeStatus(target, uuid4(), context.at, "CUSTOMER_REQUEST")
            until = cancel_ends if target == "CANCELED" else None
            body = {"status": target}
            yield Action("orders_change_status", "PATCH", "", (probe,), until, body)
    cancel = c.CancelOrder("CUSTOMER_REQUEST", uuid4())
    yield Action("orders_cancel", "POST", "cancel/", (cancel,), cancel_ends)
    address = c.ChangeShippingAddress(uuid4())
    yield Action("orders_change_shipping_address", "PUT", "shipping-address/", (address,))
    billing = c.ChangeBillingAddress(uuid4())
    yield Action("orders_change_billing_address", "PUT", "billing-address/", (billing,))
    yield Action("orders_change_contact", "PUT", "contact/", (c.ChangeContact(uuid4()),))
    yield Action("orders_set_metadata", "PATCH", "metadata/", (c.SetMetadata({}),))
    yield Action("orders_set_tags", "PUT", "tags/", (c.SetTags(()),))
    hold = c.HoldOrder(uuid4(), "OTHER")
    yield Action("holds_add", "POST", "holds/", (hold,))
    for hold_id, held in context.folded.order.holds.items():
        if not held.released:
            release = c.ReleaseHold(hold_id)
            yield Action("holds_release", "POST", f"holds/{hold_id}/release/", (release,))
    note = c.AddNote(uuid4(), "public", uuid4())
    yield Action("notes_add", "POST", "notes/", (note,))


def _line_actions(context: _ActionContext) -> Iterator[Action]:
    prices = price_authority(context.caller, context.settings)
    add = c.AddLine(OrderLine(0, "SKU", None, 1, 0), prices)
    yield Action("lines_add", "POST", "lines/", (add,))
    edit = c.EditOrder(uuid4(), (OrderLine(0, "SKU", None, 1, 0),))
    yield Action("orders_edit", "POST", "edit/", (edit,))
    for line_id, line in context.folded.order.lines.items():
        present = line.line.quantity
        others = [n for n in (present + 1, present - 1) if 1 <= n <= QUANTITY_MAX]
        changes = tuple(c.ChangeLineQuantity(line_id, other, prices) for other in others)
        remove = c.RemoveLine(line_id)
        cancel = c.CancelUnits(line_id, 1, "CUSTOMER_REQUEST", uuid4())
        path = f"lines/{line_id}/"
        yield Action("lines_change_quantity", "PATCH", path, changes)
        yield Action("lines_remove", "DELETE", path, (remove,))
        yield Action("lines_cancel_units", "POST", f"{path}cancel/", (cancel,))


def _payment_actions(context: _ActionContext) -> Iterator[Action]:
    authorize = c.AuthorizePayment(uuid4(), None, context.at)
    record = c.RecordPayment(uuid4(), uuid4(), None, "manual")
    for probe, kind in ((authorize, "authorization"), (record, "capture")):
        yield Action("payments_add", "POST", "payments/", (probe,), body={"kind": kind})
    for payment_id, payment in context.folded.order.payments.items():
        path = f"payments/{payment_id}/"
        if payment.captured_minor > payment.reversed_minor:
            reverse = c.ReversePayment(payment_id, None, "CHARGEBACK")
            yield Action("payments_reverse", "POST", f"{path}reverse/", (reverse,))
        if payment.reversed_minor:
            restore = c.RestorePayment(payment_id, None)
            yield Action("payments_restore", "POST", f"{path}restore/", (restore,))
        if payment.open_minor:
            capture = c.CapturePayment(payment_id, None, context.at)
            yield Action("payments_capture", "POST", f"{path}capture/", (capture,))
            void = c.VoidAuthorization(payment_id, "OTHER")
            yield Action("payments_void", "POST", f"{path}void/", (void,))
            fail = c.RecordPaymentFailure(payment_id, "code")
            yield Action("payments_fail", "POST", f"{path}fail/", (fail,))


def _shipment_actions(context: _ActionContext) -> Iterator[Action]:
    allow_unpaid = context.settings.ALLOW_SHIP_UNPAID
    ship = c.Ship(uuid4(), None, context.at, allow_unpaid=allow_unpaid)
    yield Action("shipments_dispatch", "POST", "shipments/", (ship,))
    for shipment_id, shipment in context.folded.order.shipments.items():
        if not shipment.voided:
            path = f"shipments/{shipment_id}/"
            track = c.UpdateTracking(shipment_id)
            yield Action("shipments_update_tracking", "PATCH", path, (track,))
            void = c.VoidShipment(shipment_id, "OTHER")
            yield Action("shipments_void", "POST", f"{path}void/", (void,))
            confirm = c.ConfirmDelivery(shipment_id, None, context.at)
            yield Action("shipments_confirm_delivery", "POST", f"{path}delivered/", (confirm,))


def _refund_actions(context: _ActionContext) -> Iterator[Action]:
    request = c.RequestRefund(uuid4(), None, "OTHER")
    yield Action("refunds_request", "POST", "refunds/", (request,))
    for refund_id, refund in context.folded.order.refunds.items():
        if refund.status == "PENDING":
            path = f"refunds/{refund_id}/"
            settle, fail = c.SettleRefund(refund_id), c.FailRefund(refund_id, "code")
            yield Action("refunds_settle", "POST", f"{path}settle/", (settle,))
            yield Action("refunds_fail", "POST", f"{path}fail/", (fail,))


def _return_actions(context: _ActionContext) -> Iterator[Action]:
    order, window = context.folded.order, return_window(context.caller, context.settings)
    # Delivered lines come first: the refusal of the first probe is shown, and theirs says more.
    lines = sorted(order.lines, key=lambda line_id: -order.lines[line_id].delivered)
    requests = tuple(
        c.RequestReturn(uuid4(), (LineQuantity(line_id, 1),), "OTHER", context.at, window)
        for line_id in lines
    )
    yield Action("returns_request", "POST", "returns/", requests, _return_until(context, window))
    for return_id, existing in order.returns.items():
        path = f"returns/{return_id}/"
        if existing.status == "REQUESTED":
            yield Action(
                "returns_approve", "POST", f"{path}approve/", (c.ApproveReturn(return_id),)
            )
            yield Action("returns_reject", "POST", f"{path}reject/", (c.RejectReturn(return_id),))
            yield Action("returns_cancel", "POST", f"{path}cancel/", (c.CancelReturn(return_id),))
        if existing.status == "APPROVED":
            receive = c.ReceiveReturn(return_id, None, uuid4())
            yield Action("returns_receive", "POST", f"{path}receive/", (receive,))


def _return_until(context: _ActionContext, window: timedelta | None) -> datetime | None:
    """When the caller's return window closes for the unit that was delivered last."""
    deliveries = [s.delivered_at for s in context.folded.order.shipments.values() if s.delivered_at]
    return max(deliveries) + window if deliveries and window is not None else None
