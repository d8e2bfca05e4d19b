"""Addresses, contact and notes: free text that is stored outside the events."""

from operator import attrgetter
from uuid import UUID, uuid4

from order_service.accounts import contacts
from order_service.api.orders.command_context import CommandContext
from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.countries import Country
from order_service.api.orders.permissions import may_note
from order_service.documents import history
from order_service.documents.shape import to_json
from order_service.domain.commands import (
    AddNote,
    ChangeBillingAddress,
    ChangeContact,
    ChangeShippingAddress,
)
from order_service.domain.parts import NoteVisibility
from order_service.log.append import OrderText
from order_service.web.fields import Body, ChangeBody, NewEmail, Note, Words

router = CommandRouter(prefix="/orders", tags=["orders"])


class NewAddress(Body):
    name: Words
    company: Words | None = None
    line1: Words
    line2: Words | None = None
    city: Words
    region: Words | None = None
    postal_code: Words | None = None
    country: Country
    phone: Words | None = None

    def as_text(self) -> str:
        """JSON with all members in this order; those that are left out are null."""
        members = (getattr(self, name) for name in history.Address.__struct_fields__)
        return to_json(history.Address(*members)).decode()


class NewContact(Body):
    """The customer of the order: of a guest's, all that is known of him."""

    email: NewEmail
    name: Words | None = None
    phone: Words | None = None

    def as_text(self) -> str:
        return to_json(history.Contact(self.email, self.name, self.phone)).decode()

    def digests(self, context: CommandContext) -> tuple[OrderText, ...]:
        """What a search finds the order by, without the contact in clear text."""
        found = contacts.digests(context.settings.SECRET_KEY, self.email, self.phone)
        return tuple(OrderText(uuid4(), contacts.DIGEST_KIND, digest) for digest in found)


class ChangeContactRequest(NewContact, ChangeBody):
    """The whole new contact: members that are left out are empty."""


class ChangeAddressRequest(NewAddress, ChangeBody):
    """The whole new address: members that are left out are empty."""


class AddNoteRequest(ChangeBody):
    text: Note
    visibility: NoteVisibility = "public"


@router.command(
    "PUT",
    "/{order_id}/shipping-address/",
    ChangeShippingAddress,
    operation_id="orders_change_shipping_address",
    summary="Change the shipping address",
    problems=("order-not-editable",),
    text_kind="address",
    text_of=NewAddress.as_text,
)
def change_shipping_address(body: ChangeAddressRequest, text_ref: UUID) -> ChangeShippingAddress:
    """Replaces the whole shipping address: members that are left out are empty."""
    return ChangeShippingAddress(text_ref)


@router.command(
    "PUT",
    "/{order_id}/billing-address/",
    ChangeBillingAddress,
    operation_id="orders_change_billing_address",
    summary="Change the billing address",
    text_kind="billing_address",
    text_of=NewAddress.as_text,
)
def change_billing_address(body: ChangeAddressRequest, text_ref: UUID) -> ChangeBillingAddress:
    """Replaces the whole billing address: members that are left out are empty."""
    return ChangeBillingAddress(text_ref)


@router.command(
    "PUT",
    "/{order_id}/contact/",
    ChangeContact,
    operation_id="orders_change_contact",
    summary="Change the contact",
    text_kind="contact",
    text_of=NewContact.as_text,
    more_texts=lambda context, body: body.digests(context),
)
def change_contact(body: ChangeContactRequest, text_ref: UUID) -> ChangeContact:
    """Replaces the whole contact of the order: members that are left out are empty."""
    return ChangeContact(text_ref)


@router.command(
    "POST",
    "/{order_id}/notes/",
    AddNote,
    operation_id="notes_add",
    summary="Add a note",
    problems=("forbidden",),
    text_kind="note",
    text_of=attrgetter("text"),
    authorize=lambda context, body: may_note(context.caller, body.visibility),
)
def add_note(body: AddNoteRequest, text_ref: UUID) -> AddNote:
    """Adds a note to the order. Only staff write and read internal notes."""
    return AddNote(uuid4(), body.visibility, text_ref)
