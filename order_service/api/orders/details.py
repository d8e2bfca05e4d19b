"""The shipping address and the notes: free text that is stored outside the events."""

from operator import attrgetter
from uuid import UUID, uuid4

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.countries import Country
from order_service.api.orders.permissions import may_note
from order_service.documents.history import ShippingAddress
from order_service.documents.shape import to_json
from order_service.domain.commands import AddNote, ChangeShippingAddress
from order_service.domain.events import NoteVisibility
from order_service.web.fields import Body, ChangeBody, Note, Words

router = CommandRouter(prefix="/orders", tags=["orders"])


class Address(Body):
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
        members = (getattr(self, name) for name in ShippingAddress.__struct_fields__)
        return to_json(ShippingAddress(*members)).decode()


class ChangeAddressRequest(Address, ChangeBody):
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
    text_of=Address.as_text,
)
def change_shipping_address(body: ChangeAddressRequest, text_ref: UUID) -> ChangeShippingAddress:
    """Replaces the whole shipping address: members that are left out are empty."""
    return ChangeShippingAddress(text_ref)


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
