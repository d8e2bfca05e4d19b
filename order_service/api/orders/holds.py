"""Holds: while one stands, nothing of the order ships."""

from uuid import UUID, uuid4

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import PartPath, part_id
from order_service.domain.commands import HoldOrder, ReleaseHold
from order_service.domain.parts import HoldReason
from order_service.web.fields import ChangeBody, Note

router = CommandRouter(prefix="/orders/{order_id}/holds", tags=["orders"])


class HoldRequest(ChangeBody):
    reason: HoldReason
    note: Note | None = None


class ReleaseHoldRequest(ChangeBody):
    note: Note | None = None


@router.command(
    "POST",
    "/",
    HoldOrder,
    operation_id="holds_add",
    summary="Hold an order",
    problems=("invalid-transition",),
    text_kind="hold",
)
def hold_order(body: HoldRequest, text_ref: UUID | None) -> HoldOrder:
    """Stops the shipping, and the expiry of an unpaid order, until the hold is released. An order
    may have several."""
    return HoldOrder(uuid4(), body.reason, text_ref)


@router.command(
    "POST",
    "/{hold_id}/release/",
    ReleaseHold,
    operation_id="holds_release",
    summary="Release a hold",
    problems=("not-found",),
    text_kind="release_hold",
)
def release_hold(body: ReleaseHoldRequest, text_ref: UUID | None, hold_id: PartPath) -> ReleaseHold:
    """Releases the hold; the order ships again once no other stands."""
    return ReleaseHold(part_id(hold_id), text_ref)
