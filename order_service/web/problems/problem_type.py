"""What a problem type is, and the extension members that they share. Imports nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABOUT_BLANK = "about:blank"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True)
class Member:
    """An extension member (RFC 9457, 3.2): what it holds, as text, JSON schema and example."""

    meaning: str
    schema: Mapping[str, Any]
    example: Any


@dataclass(frozen=True)
class ProblemType:
    """`detail` is an example's; `members` are always there, `may_have` only where they apply.

    `uri`: for the types that are not ours; ours are `/problems/{slug}`.
    """

    status: int
    meaning: str
    cause: str
    remedy: str
    detail: str
    members: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    uri: str | None = None


_STATUS_SCHEMA = {"type": "string", "pattern": "^[A-Z_]+$"}
_VERSION_SCHEMA = {"type": "integer", "minimum": 1}
_AMOUNT_SCHEMA = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
_TEXT_SCHEMA = {"type": "string"}

MEMBERS: Mapping[str, Member] = {
    "allowed_transitions": Member(
        "The statuses that the order can take now.",
        {"type": "array", "items": _STATUS_SCHEMA},
        ["PAID", "CANCELED"],
    ),
    "amount_due": Member("What is still to be paid.", _AMOUNT_SCHEMA, "24.98"),
    "current_etag": Member("The order's ETag now.", _TEXT_SCHEMA, '"3"'),
    "current_version": Member("The order's version now.", _VERSION_SCHEMA, 3),
    "dependency": Member("What does not answer.", _TEXT_SCHEMA, "database"),
    "error": Member("The error code of RFC 6749.", _TEXT_SCHEMA, "invalid_grant"),
    "error_description": Member(
        "The same for a person, as RFC 6749 has it.",
        _TEXT_SCHEMA,
        "E-mail address and password do not match.",
    ),
    "errors": Member(
        "The wrong fields, the first 50 at most: what is wrong (`detail`), where (`pointer` into "
        "the body, `parameter` or `header`), and a stable `code`.",
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail", "code"],
                "properties": {
                    "detail": _TEXT_SCHEMA,
                    "code": _TEXT_SCHEMA,
                    "pointer": {"type": "string", "pattern": "^#"},
                    "parameter": _TEXT_SCHEMA,
                    "header": _TEXT_SCHEMA,
                },
            },
        },
        [
            {
                "detail": "A quantity is a whole number of at most 6 digits",
                "pointer": "#/items/0/quantity",
                "code": "quantity",
            }
        ],
    ),
    "events_since": Member(
        "What happened to the order since, oldest first: the type of each event, whether the "
        "owner, the shop's staff or the system did it, and when.",
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "actor", "at"],
                "properties": {
                    "type": _TEXT_SCHEMA,
                    "actor": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {"type": _TEXT_SCHEMA, "id": _TEXT_SCHEMA},
                    },
                    "at": {"type": "string", "format": "date-time"},
                },
            },
        },
        [
            {
                "type": "OrderCanceled",
                "actor": {"type": "staff"},
                "at": "2026-03-01T12:00:00.000000Z",
            }
        ],
    ),
    "existing_order": Member(
        "The id of the order that has the reference.",
        {"type": "string", "format": "uuid"},
        "0195f0a1-0000-7000-8000-000000000001",
    ),
    "expected": Member("The total that the items come to.", _AMOUNT_SCHEMA, "24.98"),
    "from_status": Member("The status that the order has.", _STATUS_SCHEMA, "PENDING"),
    "lag_ms": Member("How long ago that was written which is not shown.", {"type": "integer"}, 371),
    "line_id": Member("The line that it is about.", {"type": "integer"}, 1),
    "max_bytes": Member("How many bytes are taken.", {"type": "integer"}, 262_144),
    "max_refundable": Member("What can still be refunded.", _AMOUNT_SCHEMA, "19.98"),
    "open": Member("What is still open of the authorization.", _AMOUNT_SCHEMA, "10.00"),
    "order_status": Member(
        "The order's status (`status` itself is the HTTP status, as RFC 9457 has it).",
        _STATUS_SCHEMA,
        "PENDING",
    ),
    "outstanding": Member("How many units can be meant at most.", {"type": "integer"}, 1),
    "partition": Member("Where the event stands in the log.", {"type": "integer"}, 0),
    "position": Member("Where it stands in its partition.", {"type": "integer"}, 912),
    "required_role": Member("The role that may do this.", _TEXT_SCHEMA, "staff"),
    "return_status": Member("The return's status.", _STATUS_SCHEMA, "RECEIVED"),
    "stream_id": Member(
        "The order.",
        {"type": "string", "format": "uuid"},
        "0195f0a1-0000-7000-8000-000000000001",
    ),
    "to_status": Member("The status that was asked for.", _STATUS_SCHEMA, "SHIPPED"),
    "violated-policies": Member(
        "The quota policies that are used up: their names in RateLimit-Policy.",
        {"type": "array", "items": _TEXT_SCHEMA},
        ["orders-write-user"],
    ),
}
