"""The answer to a command: the order's document.

Queries and the cache serve the same bytes.
"""

from collections.abc import Mapping
from typing import Any

from order_service.commands.handler import Answer, Preview
from order_service.documents import consistency_token
from order_service.documents.event import event_as_json
from order_service.documents.order import as_json, document, etag
from order_service.web.responses import NO_STORE, PRIVATE, Reply, json_bytes


def reply_with(
    answer: Answer, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    found = PRIVATE | {
        "ETag": etag(answer.order.version),
        consistency_token.HEADER: consistency_token.token_of(answer.order),
        **(headers or {}),
    }
    if answer.replayed:
        found["Idempotent-Replayed"] = "true"
    return Reply(status, found, document(answer.order))


def reply_with_preview(preview: Preview, **unknown: None) -> Reply:
    return Reply(200, NO_STORE, json_bytes(preview_as_json(preview, **unknown)))


def preview_as_json(preview: Preview, **unknown: None) -> dict[str, Any]:
    """`unknown`: members of the order that only the log would give."""
    currency = preview.order.order.currency
    return {
        "order": as_json(preview.order) | unknown,
        "events": [
            {
                "type": type(recorded.event).__name__,
                "version": recorded.version,
                "data": event_as_json(recorded.event, currency),
            }
            for recorded in preview.events
        ],
    }
