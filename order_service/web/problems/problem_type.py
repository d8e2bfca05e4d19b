"""The shape of a problem type, and the extension members of all types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from order_service import limits

ABOUT_BLANK = "about:blank"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True)
class Member:
    """An extension member (RFC 9457, 3.2): its meaning, JSON schema and an example."""

    meaning: str
    schema: Mapping[str, Any]
    example: Any


@dataclass(frozen=True)
class ProblemType:
    """`detail` is an example. `members` are always present, `may_have` only where they apply.

    `uri`: of a type that another body has defined; ours are `/problems/{slug}`.
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
        "The statuses that can follow the order's status.",
        {"type": "array", "items": _STATUS_SCHEMA},
        ["PAID", "CANCELED"],
    ),
    "amount_due": Member("The amount still to be paid.", _AMOUNT_SCHEMA, "24.98"),
    "current_etag": Member("The order's current ETag.", _TEXT_SCHEMA, '"3"'),
    "current_version": Member("The order's current version.", _VERSION_SCHEMA, 3),
    "dependency": Member("The server that does not answer.", _TEXT_SCHEMA, "database"),
    "error": Member("The error code of RFC 6749.", _TEXT_SCHEMA, "invalid_grant"),
    "error_description": Member(
        "The same as text for a person, as in RFC 6749.",
        _TEXT_SCHEMA,
        "E-mail address and password do not match.",
    ),
    "errors": Member(
        f"The wrong fields, at most the first {limits.VALIDATION_ERRORS_MAX}: what is wrong "
        "(`detail`), where (`pointer` into "
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
        "The events since that version, oldest first: type, actor (owner, the shop's staff, an API "
        "key or the system) and time.",
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
    "expected": Member("The total of the items.", _AMOUNT_SCHEMA, "24.98"),
    "from_status": Member("The order's current status.", _STATUS_SCHEMA, "PENDING"),
    "lag_ms": Member(
        "The age of the oldest event that is not shown, in milliseconds.", {"type": "integer"}, 371
    ),
    "line_id": Member("The line.", {"type": "integer"}, 1),
    "max_bytes": Member("The maximum number of bytes.", {"type": "integer"}, 262_144),
    "max_amount": Member("The amount that is possible.", _AMOUNT_SCHEMA, "19.98"),
    "max_discount": Member("The discount that is possible.", _AMOUNT_SCHEMA, "20.00"),
    "max_refundable": Member("The amount that can still be refunded.", _AMOUNT_SCHEMA, "19.98"),
    "open": Member("The amount of the authorization that is still open.", _AMOUNT_SCHEMA, "10.00"),
    "order_status": Member(
        "The order's status (`status` itself is the HTTP status, as RFC 9457 has it).",
        _STATUS_SCHEMA,
        "PENDING",
    ),
    "outstanding": Member("The maximum number of units.", {"type": "integer"}, 1),
    "partition": Member("The event's partition of the log.", {"type": "integer"}, 0),
    "position": Member("The event's position in its partition.", {"type": "integer"}, 912),
    "required_scope": Member("The scope that the key needs.", _TEXT_SCHEMA, "payments:write"),
    "required_role": Member("The role that may do this.", _TEXT_SCHEMA, "staff"),
    "return_status": Member("The return's status.", _STATUS_SCHEMA, "RECEIVED"),
    "stream_id": Member(
        "The order.",
        {"type": "string", "format": "uuid"},
        "0195f0a1-0000-7000-8000-000000000001",
    ),
    "to_status": Member("The requested status.", _STATUS_SCHEMA, "SHIPPED"),
    "violated-policies": Member(
        "The exhausted quota policies, by their names in RateLimit-Policy.",
        {"type": "array", "items": _TEXT_SCHEMA},
        ["orders-write-user"],
    ),
}
