"""The answer to a command: the order's document, in the same bytes as queries and the cache."""

from collections.abc import Mapping

from msgspec.structs import asdict

from order_service.commands.handler import Answer, Preview
from order_service.documents import consistency_token
from order_service.documents.event import event_data
from order_service.documents.order import document, etag, order_document
from order_service.documents.preview import DryRun, PreviewedEvent, PreviewedOrder
from order_service.web.responses import NO_STORE, PRIVATE, Reply, json_bytes


def reply_with(
    answer: Answer, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    all_headers = PRIVATE | {
        "ETag": etag(answer.order.version),
        consistency_token.HEADER: consistency_token.token_of(answer.order),
        **(headers or {}),
    }
    if answer.replayed:
        all_headers["Idempotent-Replayed"] = "true"
    return Reply(status, all_headers, document(answer.order))


def reply_with_preview(preview: Preview, **unknown: None) -> Reply:
    return Reply(200, NO_STORE, json_bytes(dry_run(preview, **unknown)))


def dry_run(preview: Preview, **unknown: None) -> DryRun:
    """`unknown`: members of a new order that only its append determines."""
    currency = preview.order.order.currency
    order = asdict(order_document(preview.order))
    return DryRun(
        PreviewedOrder(**(order | unknown)),
        [
            PreviewedEvent(
                type(recorded.event).__name__,
                recorded.version,
                event_data(recorded.event, currency),
            )
            for recorded in preview.events
        ],
    )
