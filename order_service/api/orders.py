"""The command routes of orders: parse, call one function, answer. May import handle, api.

The answer to a command is the order's document, the same bytes that queries and the cache serve.
"""

import hashlib
import re
from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from order_service import consistency
from order_service.api.body import json_body
from order_service.api.identity import Caller, CallerDependency
from order_service.api.problems import Problem, documented
from order_service.api.schemas import ChangeStatusRequest, PlaceOrderRequest
from order_service.domain.commands import ChangeStatus
from order_service.errors import (
    OrderNotFound,
    OrderServiceError,
    RuleViolation,
    VersionConflict,
)
from order_service.handle import Answer, change_order, place_order
from order_service.ids import now, order_id_of_key, parse_order_id, uuid7
from order_service.log.appender import OrderText
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.representation import document
from order_service.settings import Settings

router = APIRouter(prefix="/orders", tags=["orders"])

_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ETAGS = re.compile(rf"[\t ,]*{_ETAG.pattern}([\t ]*,[\t ,]*{_ETAG.pattern})*[\t ,]*")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class StaleVersion(OrderServiceError):
    """If-Match named other versions than the order has."""

    def __init__(self, order: FoldedOrder) -> None:
        super().__init__(
            "stale-version",
            f"If-Match does not name version {order.version}, at which order {order.id} is now. "
            "Read the order again and retry.",
            current_version=order.version,
            current_etag=etag(order),
        )


def etag(order: FoldedOrder) -> str:
    return f'"{order.version}"'


def order_id_of(path: str) -> UUID:
    order_id = parse_order_id(path)
    if order_id is None:
        raise OrderNotFound("with this id")
    return order_id


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(description="A name for this request: repeats under it get the first answer."),
    ] = None,
) -> str | None:
    """The key, bare or as a structured-field string. Raises Problem 400."""
    if idempotency_key is None:
        return None
    match = _KEY.fullmatch(idempotency_key)
    if match is None:
        raise Problem(
            400,
            "idempotency-key-invalid",
            'Send 1 to 255 printable ASCII characters, bare or as a string such as "8e03978e".',
        )
    return match[1] or match[2]


async def _strong_tags(
    if_match: Annotated[
        list[str] | None, Header(description="Act only if the order has one of these ETags.")
    ] = None,
) -> frozenset[str] | None:
    """The tags that If-Match accepts, None for any; a weak one matches none (RFC 9110 13.1.1).

    Raises Problem 400.
    """
    if if_match is None:
        return None
    tags = ",".join(if_match)  # several fields are one list
    if tags.strip() == "*":
        return None
    if not _ETAGS.fullmatch(tags):
        raise Problem(400, "malformed-request", 'If-Match takes entity tags like "3", or *.')
    return frozenset(f'"{opaque}"' for weak, opaque in _ETAG.findall(tags) if not weak)


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
IfMatch = Annotated[frozenset[str] | None, Depends(_strong_tags)]


async def log_of(request: Request) -> EventLog:
    found: EventLog = request.app.state.log
    return found


LogDependency = Annotated[EventLog, Depends(log_of)]


@router.post(
    "/",
    operation_id="orders_place",
    status_code=201,
    responses=documented(400, 401, 409, 413, 415, 422, 429, 503),
)
async def place(
    request: Request,
    caller: CallerDependency,
    key: IdempotencyKey,
    body: Annotated[PlaceOrderRequest, Depends(json_body(PlaceOrderRequest))],
    log: LogDependency,
) -> Response:
    """The order is stored, durably, before this answers."""
    settings: Settings = request.app.state.settings
    metadata = metadata_of(request, caller, key, body)
    order_id = order_id_of_key(caller.user_id, metadata.key) if metadata.key else uuid7()
    command = body.command(caller.user_id, settings.DEFAULT_CURRENCY)
    answer = await place_order(log, order_id, command, metadata)
    return _answer(answer, 201, {"Location": f"/orders/{order_id}/"})


@router.patch(
    "/{order_id}/",
    operation_id="orders_change_status",
    responses=documented(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
)
async def change_status(
    request: Request,
    order_id: str,
    caller: CallerDependency,
    key: IdempotencyKey,
    seen: IfMatch,
    body: Annotated[ChangeStatusRequest, Depends(json_body(ChangeStatusRequest))],
    log: LogDependency,
) -> Response:
    """The order has the status; 200 without a new version if it had it already."""
    settings: Settings = request.app.state.settings
    metadata = metadata_of(request, caller, key, body)
    text_id = uuid4() if body.note else None
    command = ChangeStatus(
        to=body.target,
        new_id=uuid4(),
        at=now(),
        reason=body.reason or ("OTHER" if caller.is_staff else "CUSTOMER_REQUEST"),
        text_ref=text_id,
        tracking_number=body.tracking_number,
    )

    def authorize() -> None:
        allowed = ("PENDING", *settings.SELF_SERVICE_TRANSITIONS)
        if not caller.is_staff and command.to not in allowed:
            raise RuleViolation(
                "forbidden",
                f"An order's owner may not set {command.to}: ask the shop's staff.",
                required_role="staff",
            )

    def precondition(order: FoldedOrder) -> None:
        if seen is not None and etag(order) not in seen:
            raise StaleVersion(order)
        if body.expected_version not in (None, order.version):
            raise VersionConflict(order.id, body.expected_version or 0, order.version)

    answer = await change_order(
        log,
        order_id_of(order_id),
        command,
        metadata,
        check=lambda order: visible_to(caller, order),
        authorize=authorize,
        precondition=precondition,
        texts=(OrderText(text_id, "status", body.note),) if text_id and body.note else (),
    )
    return _answer(answer, 200, {})


def visible_to(caller: Caller, order: FoldedOrder) -> None:
    """Another's order is answered like one that does not exist."""
    if not caller.is_staff and order.order.user_id != caller.user_id:
        raise OrderNotFound(order.id)


def metadata_of(request: Request, caller: Caller, key: str | None, body: BaseModel) -> Metadata:
    """Who asks, and what proves a repeat of the same request under the same key."""
    traceparent = request.headers.get("traceparent", "")
    return Metadata(
        actor_type="staff" if caller.is_staff else "user",
        actor_id=caller.user_id,
        key=key,
        fingerprint=_fingerprint(request, body) if key else None,
        correlation_id=request.state.request_id,
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
    )


def _fingerprint(request: Request, body: BaseModel) -> str:
    """SHA-256 of method, route and the canonical content: the target is held by its stream.

    Of what was sent only: keys never expire, and a field that a later version of this service adds
    must not make old requests look like others.
    """
    route: Any = request.scope["route"]
    sent = body.model_dump(exclude_unset=True)
    content = orjson.dumps(sent, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(f"{request.method} {route.path}\n".encode() + content).hexdigest()


def _answer(answer: Answer, status: int, headers: dict[str, str]) -> Response:
    headers |= {
        "ETag": etag(answer.order),
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
        consistency.HEADER: consistency.token_of(answer.order),
    }
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(document(answer.order), status, headers, "application/json")
