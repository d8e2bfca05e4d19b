"""The actions that a caller may or may not perform on an order, with reasons."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from msgspec import UNSET

from order_service.documents.shape import Document, Sometimes, instant, means

RequestMembers = Annotated[
    Mapping[str, str], means("Members that the request's body must have for this action.")
]


class Reason(Document):
    type: Annotated[str, means("The `type` of the problem that the request would return.")]
    detail: str


class Action(Document):
    name: Annotated[str, means("The operation's `operationId` in the OpenAPI document.")]
    method: str
    path: str
    allowed: bool
    body: Sometimes[RequestMembers] = UNSET
    until: Sometimes[Annotated[datetime | str, instant("When the action stops being allowed.")]] = (
        UNSET
    )
    reason: Sometimes[Annotated[Reason, means("Why the action is not allowed.")]] = UNSET


class Actions(Document):
    actions: list[Action]
