"""An order's differences between versions, its notes, addresses and contact."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import field

from order_service.documents.event import Actor
from order_service.documents.shape import Document, Instant, means
from order_service.domain.parts import NoteVisibility


class Change(Document):
    pointer: Annotated[str, means("JSON pointer (RFC 6901) into the order's document.")]
    before: Any = field(name="from")
    after: Any = field(name="to")


class Diff(Document):
    before: int = field(name="from")
    after: int = field(name="to")
    changes: list[Change]


class Note(Document):
    id: UUID
    kind: Annotated[
        str | None, means("The kind of command that wrote the text; null once the text is erased.")
    ]
    visibility: NoteVisibility
    text: Annotated[str | None, means("null once the text is erased.")]
    at: Instant
    version: int
    actor: Actor


class Contact(Document):
    email: str
    name: str | None
    phone: str | None


class Address(Document):
    name: str
    company: str | None
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None
