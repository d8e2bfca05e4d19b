"""Permissions: what owners, staff and API keys may do, and the time windows that end for owners.

The only table of permissions: routes check it before a command, and `actions` reports it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from order_service.accounts.api_keys import Scope
from order_service.domain.commands import (
    AddLine,
    AddNote,
    ApproveReturn,
    AuthorizePayment,
    CancelOrder,
    CancelReturn,
    CancelUnits,
    CapturePayment,
    ChangeBillingAddress,
    ChangeContact,
    ChangeLineQuantity,
    ChangeShippingAddress,
    ConfirmDelivery,
    EditOrder,
    FailRefund,
    HoldOrder,
    OrderCommand,
    PlaceOrder,
    PriceAuthority,
    ReceiveReturn,
    RecordPayment,
    RecordPaymentFailure,
    RejectReturn,
    ReleaseHold,
    RemoveLine,
    RequestRefund,
    RequestReturn,
    RestorePayment,
    ReversePayment,
    SetMetadata,
    SetTags,
    SettleRefund,
    Ship,
    TargetStatus,
    UpdateTracking,
    VoidAuthorization,
    VoidShipment,
)
from order_service.domain.parts import NoteVisibility
from order_service.domain.refusals import violation
from order_service.domain.state import status
from order_service.errors import InvalidRequest, OrderNotFound, RuleViolation
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from order_service.web.identity import Caller, check_scope

_OWNERS_COMMANDS: frozenset[type[OrderCommand]] = frozenset(
    {
        PlaceOrder,
        AddLine,
        ChangeLineQuantity,
        RemoveLine,
        ChangeShippingAddress,
        ChangeBillingAddress,
        ChangeContact,
        AddNote,
        CancelOrder,
        RequestReturn,
        CancelReturn,
    }
)
# The scope that lets an API key give a command. A key gives no command that is not here.
COMMAND_SCOPES: Mapping[type[OrderCommand], Scope] = {
    PlaceOrder: "orders:write",
    AddLine: "orders:write",
    ChangeLineQuantity: "orders:write",
    RemoveLine: "orders:write",
    EditOrder: "orders:price",
    HoldOrder: "orders:write",
    ReleaseHold: "orders:write",
    ChangeShippingAddress: "orders:write",
    ChangeBillingAddress: "orders:write",
    ChangeContact: "orders:write",
    SetMetadata: "orders:write",
    SetTags: "orders:write",
    AddNote: "orders:write",
    CancelUnits: "orders:write",
    CancelOrder: "orders:write",
    AuthorizePayment: "payments:write",
    RecordPayment: "payments:write",
    CapturePayment: "payments:write",
    VoidAuthorization: "payments:write",
    RecordPaymentFailure: "payments:write",
    ReversePayment: "payments:write",
    RestorePayment: "payments:write",
    RequestRefund: "payments:write",
    SettleRefund: "payments:write",
    FailRefund: "payments:write",
    Ship: "fulfillment:write",
    UpdateTracking: "fulfillment:write",
    VoidShipment: "fulfillment:write",
    ConfirmDelivery: "fulfillment:write",
    RequestReturn: "returns:write",
    ApproveReturn: "returns:write",
    RejectReturn: "returns:write",
    CancelReturn: "returns:write",
    ReceiveReturn: "returns:write",
}
# `PATCH` stands for the command that leads to the status.
STATUS_SCOPES: Mapping[TargetStatus, Scope] = {
    "PENDING": "orders:write",
    "PAID": "payments:write",
    "SHIPPED": "fulfillment:write",
    "DELIVERED": "fulfillment:write",
    "CANCELED": "orders:write",
}


def visible_to(caller: Caller, order: FoldedOrder) -> None:
    """Raises OrderNotFound for the order of another user, as for one that does not exist."""
    if not caller.sees_order(order.id, order.order.user_id):
        raise OrderNotFound


def is_for_staff(kind: type[OrderCommand]) -> bool:
    return kind not in _OWNERS_COMMANDS


def may_command(caller: Caller, kind: type[OrderCommand]) -> None:
    _refuse_guest(caller)
    if caller.grant is not None and kind in COMMAND_SCOPES:
        check_scope(caller, COMMAND_SCOPES[kind])
    elif not caller.is_staff and is_for_staff(kind):
        raise _forbidden("Only the shop's staff may do this: ask them.")


def may_set(caller: Caller, target: TargetStatus, settings: Settings) -> None:
    _refuse_guest(caller)
    allowed = ("PENDING", *settings.SELF_SERVICE_TRANSITIONS)
    if caller.grant is not None:
        check_scope(caller, STATUS_SCOPES[target])
    elif not caller.is_staff and target not in allowed:
        raise _forbidden(f"An order's owner cannot set {target}: ask the shop's staff.")


def _refuse_guest(caller: Caller) -> None:
    if caller.role == "guest":
        detail = "This token only reads its order."
        raise RuleViolation("forbidden", detail, required_role="customer")


def may_price(caller: Caller) -> None:
    """The caller may name prices."""
    check_scope(caller, "orders:price")


def may_note(caller: Caller, visibility: NoteVisibility) -> None:
    may_command(caller, AddNote)
    if not caller.acts_for_shop and visibility != "public":
        raise _forbidden("Only the shop's staff may add internal notes: send a public one.")


def owner_of_new(caller: Caller, user_id: UUID | None, has_contact: bool) -> UUID | None:
    """The owner of the order that the caller places; None: a guest, for whom the shop gives a
    contact. `user_id`: as sent."""
    may_command(caller, PlaceOrder)
    if user_id is None and has_contact and caller.acts_for_shop:
        return None
    owner = user_id or caller.own_id
    if owner is None:
        missing = {
            "detail": "An API key says whose order it is: send user_id, or customer for a guest",
            "pointer": "#/user_id",
            "code": "missing",
        }
        raise InvalidRequest("validation", "Wrong fields: 1; see errors.", errors=[missing])
    if not caller.sees(owner):
        raise _forbidden("Only the shop's staff may place orders for others: leave user_id out.")
    return owner


def price_authority(caller: Caller, settings: Settings) -> PriceAuthority:
    """Whether orders take the caller's prices, discounts and taxes."""
    if caller.grant is not None:
        return "trusted" if "orders:price" in caller.grant.scopes else "refused"
    if caller.is_staff:
        return "trusted"
    return "accepted" if settings.CUSTOMER_PRICES == "accept" else "refused"


def _forbidden(detail: str) -> RuleViolation:
    return RuleViolation("forbidden", detail, required_role="staff")


# --- windows --------------------------------------------------------------------------------------


def cancel_until(caller: Caller, order: FoldedOrder, settings: Settings) -> datetime | None:
    """When the caller's time to cancel the order ends; None: there is no limit."""
    if caller.acts_for_shop or status(order.order) != "PAID":
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
    return None if caller.acts_for_shop else settings.RETURN_WINDOW
