"""What a caller may do with an order."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from msgspec import UNSET

from order_service.documents.shape import Document, Sometimes, instant, means

RequestMembers = Annotated[Mapping[str, str], means("What makes the request this action.")]


class Reason(Document):
    type: Annotated[str, means("The problem type that the request would be answered with.")]
    detail: str


class Action(Document):
    name: Annotated[str, means("The operation's id in this document.")]
    method: str
    path: str
    allowed: bool
    body: Sometimes[RequestMembers] = UNSET
    until: Sometimes[Annotated[datetime | str, instant("When time closes it.")]] = UNSET
    reason: Sometimes[Annotated[Reason, means("Of a refusal.")]] = UNSET


class Actions(Document):
    actions: list[Action]
