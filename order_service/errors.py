"""The errors of the service, in one small hierarchy.

    OrderServiceError                code, facts
    ├── InvalidRequest               the request is wrong in itself (422, or 400 by its code)
    ├── RuleViolation                the order's state forbids it (409)
    ├── NotFound                     the order has no such part (404)
    │   └── OrderNotFound            no such order, or not visible to the caller
    ├── VersionConflict              the order has another version (409; 412 if by If-Match)
    ├── Unavailable                  a dependency failed, a queue is full, a deadline passed (503)
    └── UnreadableEvent              today's code cannot read a stored event

Every error has a stable `code`, the slug of its problem document. No HTTP here: the catalogue in
`web/problems/` maps codes to statuses.
"""

from typing import Any
from uuid import UUID


class OrderServiceError(Exception):
    """`code`: stable slug; `detail`: the text for people; `facts`: the values behind it."""

    def __init__(self, code: str, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.facts = facts


class InvalidRequest(OrderServiceError):
    """A request that is wrong in itself, whatever the state of the order."""


class RuleViolation(OrderServiceError):
    """The order's present state forbids the command."""


class NotFound(OrderServiceError):
    """The order has no such line, payment, shipment, refund or return."""


class OrderNotFound(NotFound):
    """No such order, or the order of another user. The text is the same for both, and never names
    the id behind a number, so it does not reveal that the order exists."""

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
    """A server, a queue or a lock did not serve the request in time. The request itself may be
    valid."""


class UnreadableEvent(OrderServiceError):
    """Today's code cannot decode or fold a stored event. Detail and facts are for operators.

    `owner`: the user who owns the order; None if the readable events do not contain it.
    """

    owner: UUID | None = None
