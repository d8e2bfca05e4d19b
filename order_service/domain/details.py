"""Decisions on what an order carries beside goods and money: addresses, contact, metadata, tags,
notes. Pure."""

from order_service.domain import state as rules
from order_service.domain.commands import (
    AddNote,
    ChangeBillingAddress,
    ChangeContact,
    ChangeShippingAddress,
    SetMetadata,
    SetTags,
)
from order_service.domain.events import (
    BillingAddressChanged,
    ContactChanged,
    OrderEvent,
    OrderMetadataChanged,
    OrderNoteAdded,
    OrderTagged,
    ShippingAddressChanged,
)
from order_service.domain.refusals import violation
from order_service.domain.state import Order
from order_service.errors import InvalidRequest


def change_shipping_address(command: ChangeShippingAddress, order: Order) -> tuple[OrderEvent, ...]:
    if order.cancel_reason or any(line.shipped for line in order.lines.values()):
        raise violation(
            order,
            "order-not-editable",
            "Cannot change the address: units have shipped, or the order is canceled.",
        )
    return (ShippingAddressChanged(command.address_ref),)


def change_billing_address(command: ChangeBillingAddress) -> tuple[OrderEvent, ...]:
    return (BillingAddressChanged(command.address_ref),)


def change_contact(command: ChangeContact) -> tuple[OrderEvent, ...]:
    return (ContactChanged(command.contact_ref),)


def set_metadata(command: SetMetadata, order: Order) -> tuple[OrderEvent, ...]:
    """No event if every key already has the value."""
    present = order.metadata
    wanted = {k: v for k, v in command.values.items() if v is not None and present.get(k) != v}
    removed = tuple(k for k, v in command.values.items() if v is None and k in present)
    if not wanted and not removed:
        return ()
    if len(present.keys() | wanted.keys()) - len(removed) > rules.METADATA_MAX:
        raise InvalidRequest(
            "validation",
            f"An order has at most {rules.METADATA_MAX} metadata entries, and this one has "
            f"{len(present)}: remove some by null.",
        )
    return (OrderMetadataChanged(wanted, removed),)


def set_tags(command: SetTags, order: Order) -> tuple[OrderEvent, ...]:
    return () if command.tags == order.tags else (OrderTagged(command.tags),)


def add_note(command: AddNote) -> tuple[OrderEvent, ...]:
    return (OrderNoteAdded(command.note_id, command.visibility, command.text_ref),)
