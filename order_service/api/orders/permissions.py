"""Permissions: what owners and staff may do, and the time windows that end for owners.

The only table of permissions: routes check it before a command, and `actions` reports it.
"""

from datetime import datetime, timedelta
from uuid import UUID

from order_service.domain.commands import (
    AddLine,
    AddNote,
    CancelOrder,
    CancelReturn,
    ChangeLineQuantity,
    ChangeShippingAddress,
    OrderCommand,
    PriceAuthority,
    RemoveLine,
    RequestReturn,
    TargetStatus,
)
from order_service.domain.events import NoteVisibility
from order_service.domain.refusals import violation
from order_service.domain.state import status
from order_service.errors import OrderNotFound, RuleViolation
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from order_service.web.identity import Caller

_OWNERS_COMMANDS: frozenset[type[OrderCommand]] = frozenset(
    {
        AddLine,
        ChangeLineQuantity,
        RemoveLine,
        ChangeShippingAddress,
        AddNote,
        CancelOrder,
        RequestReturn,
        CancelReturn,
    }
)


def visible_to(caller: Caller, order: FoldedOrder) -> None:
    """Raises OrderNotFound for the order of another user, as for one that does not exist."""
    if not caller.is_staff and order.order.user_id != caller.user_id:
        raise OrderNotFound


def is_for_staff(kind: type[OrderCommand]) -> bool:
    return kind not in _OWNERS_COMMANDS


def may_command(caller: Caller, kind: type[OrderCommand]) -> None:
    if not caller.is_staff and is_for_staff(kind):
        raise _forbidden("Only the shop's staff may do this: ask them.")


def may_set(caller: Caller, target: TargetStatus, settings: Settings) -> None:
    allowed = ("PENDING", *settings.SELF_SERVICE_TRANSITIONS)
    if not caller.is_staff and target not in allowed:
        raise _forbidden(f"An order's owner cannot set {target}: ask the shop's staff.")


def may_note(caller: Caller, visibility: NoteVisibility) -> None:
    if not caller.is_staff and visibility != "public":
        raise _forbidden("Only the shop's staff may add internal notes: send a public one.")


def may_place_for(caller: Caller, user_id: UUID) -> None:
    if not caller.is_staff and caller.user_id != user_id:
        raise _forbidden("Only the shop's staff may place orders for others: leave user_id out.")


def price_authority(caller: Caller, settings: Settings) -> PriceAuthority:
    """Whether orders take the caller's prices, discounts and taxes."""
    if caller.is_staff:
        return "trusted"
    return "accepted" if settings.CUSTOMER_PRICES == "accept" else "refused"


def _forbidden(detail: str) -> RuleViolation:
    return RuleViolation("forbidden", detail, required_role="staff")


# --- windows --------------------------------------------------------------------------------------


def cancel_until(caller: Caller, order: FoldedOrder, settings: Settings) -> datetime | None:
    """When the caller's time to cancel the order ends; None: there is no limit."""
    if caller.is_staff or status(order.order) != "PAID":
        return None
    return order.created_at + settings.CUSTOMER_CANCEL_WINDOW


def check_cancel_window(
    caller: Caller, order: FoldedOrder, settings: Settings, at: datetime
) -> None:
    """Raises RuleViolation `cancel-window-closed`."""
    until = cancel_until(caller, order, settings)
    if until is not None and at > until:
        raise violation(
            order.order,
            "cancel-window-closed",
            "The time to cancel a paid order is over: ask the shop's staff.",
        )


def return_window(caller: Caller, settings: Settings) -> timedelta | None:
    """How long after its delivery the caller may return a unit; None: without limit."""
    return None if caller.is_staff else settings.RETURN_WINDOW
