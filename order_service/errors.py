"""The errors of the service, one small hierarchy.

    OrderServiceError                code, facts
    ├── InvalidRequest               the request is wrong in itself (422, or 400 by its code)
    ├── RuleViolation                the order's state forbids it (409)
    ├── NotFound                     there is no such part of the order (404)
    │   └── OrderNotFound            absent, or not visible to the caller
    ├── VersionConflict              decided on another version (409; 412 when the client sent it)
    ├── Unavailable                  a dependency, a queue or a deadline (503)
    └── UnreadableEvent              today's code cannot read a stored event

Every error has a stable `code` (the slug of its problem document) and its facts as attributes; the
text is built from them. No HTTP here: the catalogue in `api/` maps codes to statuses.
"""

from typing import Any
from uuid import UUID


class OrderServiceError(Exception):
    """`code`: stable slug; `detail`: one sentence for a person; `facts`: the numbers behind it."""

    def __init__(self, code: str, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.facts = facts


class InvalidRequest(OrderServiceError):
    """A request that is wrong in itself, whatever the state of the order."""


class RuleViolation(OrderServiceError):
    """What the order's present state forbids."""


class NotFound(OrderServiceError):
    """A line, payment, shipment, refund or return that the order does not have."""


class OrderNotFound(NotFound):
    """In the same words whether it is absent or somebody else's, whatever was asked for: the id
    behind a foreign number is not told, nor that there is one."""

    def __init__(self) -> None:
        super().__init__("order-not-found", "No order with this id or number that you may see.")


class VersionConflict(OrderServiceError):
    """`expected` and `found` are stream versions."""

    def __init__(self, stream_id: UUID, expected: int, found: int) -> None:
        super().__init__(
            "concurrent-update",
            f"Wrong expected version for order {stream_id}: expected {expected}, found {found}. "
            "Read the order again and retry.",
            current_version=found,
        )
        self.expected = expected
        self.found = found


class Unavailable(OrderServiceError):
    """Something the command or query needs did not answer in time; nothing is known to be wrong
    with the request."""


class UnreadableEvent(OrderServiceError):
    """A stored event that today's code cannot decode or fold. Detail and facts are for operators.

    `owner`: whose order it is; None: nothing that can be read says it.
    """

    owner: UUID | None = None
