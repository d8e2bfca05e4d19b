"""One order as a decider: `initial`, `evolve`, `decide`. Pure.

Only `decide` refuses: `evolve` accepts every recorded event, because it has happened.
"""

from typing import assert_never

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
    ChangeStatus,
    ConfirmDelivery,
    EditOrder,
    ExpireAuthorizations,
    ExpireOrder,
    FailRefund,
    HoldOrder,
    OrderCommand,
    PlaceOrder,
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
    UpdateTracking,
    VoidAuthorization,
    VoidShipment,
)
from order_service.domain.details import (
    add_note,
    change_billing_address,
    change_contact,
    change_shipping_address,
    set_metadata,
    set_tags,
)
from order_service.domain.editing import edit_order
from order_service.domain.events import OrderEvent, OrderNoteAdded, OrderPaid
from order_service.domain.evolve import copy, evolve, evolve_in_place, initial
from order_service.domain.holds import hold_order, release_hold
from order_service.domain.payments import (
    authorize_payment,
    capture_payment,
    expire_authorizations,
    record_payment,
    record_payment_failure,
    restore_payment,
    reverse_payment,
    void_authorization,
)
from order_service.domain.placing import (
    add_line,
    change_line_quantity,
    place,
    remove_line,
)
from order_service.domain.refunds import (
    cancel,
    cancel_units,
    expire,
    fail_refund,
    request_refund,
    settle_refund,
)
from order_service.domain.refusals import violation
from order_service.domain.returns import (
    approve_return,
    cancel_return,
    receive_return,
    reject_return,
    request_return,
)
from order_service.domain.shipments import (
    confirm_delivery,
    ship,
    update_tracking,
    void_shipment,
)
from order_service.domain.state import Order, allowed_transitions, status

__all__ = ["copy", "decide", "evolve", "evolve_in_place", "initial"]


def decide(command: OrderCommand, order: Order | None) -> tuple[OrderEvent, ...]:
    """The events that the command causes, in the order to record them; none if the order is already
    in the wanted state.

    Raises `RuleViolation` if the order's state forbids the command, `InvalidRequest` if its values
    cannot be applied, `NotFound` for a part that the order does not have.
    """
    if isinstance(command, PlaceOrder):
        assert order is None, "an order is placed on a new stream"
        return place(command)
    assert order is not None, "the caller answers 404 for an order that does not exist"
    match command:
        case AddLine():
            return add_line(command, order)
        case ChangeLineQuantity():
            return change_line_quantity(command, order)
        case RemoveLine():
            return remove_line(command, order)
        case HoldOrder():
            return hold_order(command, order)
        case ReleaseHold():
            return release_hold(command, order)
        case EditOrder():
            return edit_order(command, order)
        case ChangeShippingAddress():
            return change_shipping_address(command, order)
        case ChangeBillingAddress():
            return change_billing_address(command)
        case ChangeContact():
            return change_contact(command)
        case SetMetadata():
            return set_metadata(command, order)
        case SetTags():
            return set_tags(command, order)
        case AddNote():
            return add_note(command)
        case AuthorizePayment():
            return authorize_payment(command, order)
        case RecordPayment():
            return record_payment(command, order)
        case CapturePayment():
            return capture_payment(command, order)
        case VoidAuthorization():
            return void_authorization(command, order)
        case ExpireAuthorizations():
            return expire_authorizations(command, order)
        case RecordPaymentFailure():
            return record_payment_failure(command, order)
        case ReversePayment():
            return reverse_payment(command, order)
        case RestorePayment():
            return restore_payment(command, order)
        case Ship():
            return ship(command, order)
        case UpdateTracking():
            return update_tracking(command, order)
        case VoidShipment():
            return void_shipment(command, order)
        case ConfirmDelivery():
            return confirm_delivery(command, order)
        case CancelUnits():
            return cancel_units(command, order)
        case CancelOrder():
            return cancel(command, order)
        case ExpireOrder():
            return expire(order)
        case RequestRefund():
            return request_refund(command, order)
        case SettleRefund():
            return settle_refund(command, order)
        case FailRefund():
            return fail_refund(command, order)
        case RequestReturn():
            return request_return(command, order)
        case ApproveReturn():
            return approve_return(command, order)
        case RejectReturn():
            return reject_return(command, order)
        case CancelReturn():
            return cancel_return(command, order)
        case ReceiveReturn():
            return receive_return(command, order)
        case ChangeStatus():
            return change_status(command, order)
        case _:
            assert_never(command)


def change_status(command: ChangeStatus, order: Order) -> tuple[OrderEvent, ...]:
    """The events that lead to the status, and a note with the text (a cancellation has its own)."""
    events = _transition(command, order)
    if not events or command.text_ref is None or command.to == "CANCELED":
        return events
    return (*events, OrderNoteAdded(command.text_ref, command.note_visibility, command.text_ref))


def _transition(command: ChangeStatus, order: Order) -> tuple[OrderEvent, ...]:
    """The shorthand's table: how the order gets from its present status to `command.to`."""
    new_id = command.new_id
    match (status(order), command.to):
        case (present, target) if present == target:
            return ()
        case ("PENDING", "PAID") if order.total_minor == 0:
            # Its prices were not trusted; whoever may set PAID trusts them now.
            return (OrderPaid(total_minor=0, captured_minor=order.captured_minor),)
        case ("PENDING", "PAID"):
            return record_payment(RecordPayment(new_id, new_id, None, command.source), order)
        case ("PENDING" | "PAID" | "PARTIALLY_SHIPPED", "SHIPPED"):
            tracking = command.tracking_number
            return ship(Ship(new_id, None, command.at, tracking_number=tracking), order)
        case ("SHIPPED", "DELIVERED"):
            return confirm_delivery(ConfirmDelivery(None, None, command.at), order)
        case ("PENDING" | "PAID" | "PARTIALLY_SHIPPED" | "SHIPPED" | "DELIVERED", "CANCELED"):
            return cancel(CancelOrder(command.reason, new_id, command.text_ref), order)
        case (present, target):
            allowed = ", ".join(allowed_transitions(order)) or "none"
            raise violation(
                order,
                "invalid-transition",
                f"Cannot go from {present} to {target}. Allowed now: {allowed}.",
                from_status=present,
                to_status=target,
            )
