"""Where an order goes, and notes on it: text that is kept beside the events."""

from typing import Annotated
from uuid import uuid4

import orjson
from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints
from starlette.responses import Response

from order_service.api.orders.asking import AskingChangeDependency, changes
from order_service.api.orders.permissions import may_note
from order_service.domain.commands import AddNote, ChangeShippingAddress
from order_service.domain.events import NoteVisibility
from order_service.log.append import OrderText
from order_service.web.fields import Body, ChangeBody, Note, Words
from order_service.web.json_body import json_body
from order_service.web.order_path import OrderPath

router = APIRouter(prefix="/orders", tags=["orders"])


class Address(Body):
    name: Words
    company: Words | None = None
    line1: Words
    line2: Words | None = None
    city: Words
    region: Words | None = None
    postal_code: Words | None = None
    country: Annotated[str, StringConstraints(strict=True, pattern="^[A-Z]{2}$")] = Field(
        description="ISO 3166-1 alpha-2"
    )
    phone: Words | None = None

    def as_text(self) -> str:
        """JSON with these members in this order, null where there is nothing."""
        return orjson.dumps(self.model_dump(include=set(Address.model_fields))).decode()


class ChangeAddressRequest(Address, ChangeBody):
    """The whole address: members that are left out are empty."""


class AddNoteRequest(ChangeBody):
    text: Note
    visibility: NoteVisibility = "public"


@router.put(
    "/{order_id}/shipping-address/",
    operation_id="orders_change_shipping_address",
    **changes("Change the shipping address", "order-not-editable"),
)
async def change_shipping_address(
    asking: AskingChangeDependency,
    body: Annotated[ChangeAddressRequest, Depends(json_body(ChangeAddressRequest))],
    order: OrderPath,
) -> Response:
    """The order goes there, whole: members that are left out are empty."""
    text = OrderText(uuid4(), "address", body.as_text())
    command = ChangeShippingAddress(text.text_id)
    return await asking.carry_out(order, body, ChangeShippingAddress, lambda _: command, (text,))


@router.post(
    "/{order_id}/notes/",
    operation_id="notes_add",
    **changes("Add a note", "forbidden"),
)
async def add_note(
    asking: AskingChangeDependency,
    body: Annotated[AddNoteRequest, Depends(json_body(AddNoteRequest))],
    order: OrderPath,
) -> Response:
    """The note stands in the order's notes; internal ones are by staff and for staff."""
    text = OrderText(uuid4(), "note", body.text)
    command = AddNote(uuid4(), body.visibility, text.text_id)
    return await asking.carry_out(
        order,
        body,
        AddNote,
        lambda _: command,
        (text,),
        lambda: may_note(asking.caller, body.visibility),
    )
