"""Who asks for a command and how, and what is answered.

The answer to a command is the order's document, the same bytes that queries and the cache serve.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import orjson
from fastapi import Depends, Header, Path, Query
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from order_service.api.orders.fields import LINE_ID_MAX
from order_service.api.orders.permissions import may_command, visible_to
from order_service.commands.handler import (
    Answer,
    Change,
    Precondition,
    Preview,
    change_order,
    preview_change,
)
from order_service.documents import consistency_token
from order_service.documents.event import event_as_json
from order_service.documents.order import as_json, document, etag
from order_service.documents.schemas import DryRun, Order
from order_service.domain.commands import OrderCommand
from order_service.domain.immutable import immutable
from order_service.errors import NotFound
from order_service.ids import now, parse_uuid
from order_service.log.append import OrderText
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from order_service.telemetry import logging
from order_service.web.fast_path import Asked
from order_service.web.fields import ChangeBody
from order_service.web.identity import Caller, CallerDependency
from order_service.web.openapi.annotations import documented, raises
from order_service.web.problems.problem import Problem
from order_service.web.query_parameters import Flag, known_parameters
from order_service.web.responses import NO_STORE, PRIVATE, Reply, json_bytes

Tags = frozenset[str] | Literal["*"] | None
KEY_LENGTH_MAX = 255

_KEY_SYNTAX = r'^("[ !#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$'
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x5b\x5d-\x7e]+)')
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ETAGS = re.compile(rf"[\t ,]*{_ETAG.pattern}([\t ]*,[\t ,]*{_ETAG.pattern})*[\t ,]*")
_ETAGS_SYNTAX = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
_LINE_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


# --- what is asked --------------------------------------------------------------------------------


@raises("idempotency-key-invalid", "idempotency-key-reused")
async def _idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A name for this request: repeats under it get the first answer.",
            json_schema_extra={"pattern": _KEY_SYNTAX},
        ),
    ] = None,
) -> str | None:
    """The key, bare or as a structured-field string. Raises Problem 400; for two keys as well,
    since a repeat might be recognized by the other one only."""
    if idempotency_key is None:
        return None
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise invalid_key()
    return key_of(idempotency_key)


def key_of(field: str) -> str:
    """The key in the one header of it. Raises Problem 400."""
    match = _KEY.fullmatch(field)
    key = match and (match[1] or match[2])
    if not key or len(key) > KEY_LENGTH_MAX:
        raise invalid_key()
    return key


def invalid_key() -> Problem:
    return Problem(
        400,
        "idempotency-key-invalid",
        'Send 1 to 255 printable ASCII characters, once, bare or as a string: "8e03978e".',
    )


@raises("stale-version", "precondition-required")
async def _tags(
    if_match: Annotated[
        list[str] | None,
        Header(
            description="Act only if the order has one of these ETags.",
            json_schema_extra={"pattern": _ETAGS_SYNTAX},
        ),
    ] = None,
) -> Tags:
    """The tags that If-Match names, weak ones with their `W/`. Raises Problem 400."""
    return None if if_match is None else tags_of(",".join(if_match))  # several are one list


def tags_of(tags: str) -> Tags:
    """The tags that If-Match names. Raises Problem 400."""
    if tags.strip() == "*":
        return "*"
    if not _ETAGS.fullmatch(tags):
        raise Problem(400, "malformed-request", 'If-Match takes entity tags like "3", or *.')
    return frozenset(f'{weak}"{opaque}"' for weak, opaque in _ETAG.findall(tags))


@immutable
class Asking:
    """One request for a command: who asks, how, and of what. A dry run stores nothing, and has no
    key to hold. Without a request of any framework: whoever has parsed one can ask."""

    caller: Caller
    log: EventLog
    engine: AsyncEngine
    settings: Settings
    request_id: str
    key: str | None = None
    dry_run: bool = False
    tags: Tags = None

    def metadata(self, route: str, body: BaseModel, key: str | None) -> Metadata:
        """Who asks, and what proves a repeat of the same request under the same key.

        `route`: the method, and the path as the OpenAPI document has it.
        """
        return Metadata(
            "staff" if self.caller.is_staff else "user",
            self.caller.user_id,
            key,
            fingerprint(route, body) if key else None,
            self.request_id,
            logging.TRACEPARENT.get(),
        )


@immutable
class AskingByRequest:
    """What came through FastAPI, and the request itself."""

    request: Request
    asking: Asking

    async def check_parameters(self) -> None:
        """Raises Problem 422. Asked by the routes themselves, once the body has been parsed: broken
        JSON is the more urgent problem."""
        await known_parameters(self.request)


@raises("overloaded", "outcome-unknown")
async def asking(
    request: Request,
    caller: CallerDependency,
    key: Annotated[str | None, Depends(_idempotency_key)],
    dry_run: Annotated[
        Flag, Query(description="Answer what would happen, and store nothing.")
    ] = False,
) -> AskingByRequest:
    state = request.app.state
    asked = Asking(
        caller,
        state.log,
        state.engine,
        state.settings,
        request.state.request_id,
        None if dry_run else key,
        dry_run,
    )
    return AskingByRequest(request, asked)


AskingDependency = Annotated[AskingByRequest, Depends(asking)]


def asking_in_lane(asked: Asked, *, on_an_order: bool) -> Asking:
    """What `asking`, or `asking_change`, makes of an ordinary request."""
    state = asked.app.state
    key, tags = asked.header(b"idempotency-key"), asked.header(b"if-match")
    return Asking(
        asked.caller,
        state.log,
        state.engine,
        state.settings,
        asked.request_id,
        None if key is None else key_of(key),
        tags=tags_of(tags) if on_an_order and tags is not None else None,
    )


async def carry_out(
    asking: Asking,
    route: str,
    order: str,
    body: ChangeBody,
    command: Callable[[FoldedOrder], OrderCommand],
    texts: tuple[OrderText, ...],
    authorize: Callable[[], None],
) -> Reply:
    """What is answered to the command on the order of this id or number. `route`: as of
    `metadata`."""
    caller, log = asking.caller, asking.log
    order_id = await log.resolve(order)
    change = Change(
        command=command,
        metadata=asking.metadata(route, body, asking.key),
        visible=lambda folded: visible_to(caller, folded),
        authorize=authorize,
        precondition=Precondition(
            asking.tags,
            body.expected_version,
            asking.settings.REQUIRE_IF_MATCH,
        ),
        texts=texts,
    )
    if asking.dry_run:
        return preview_answer(await preview_change(log, order_id, change, now()))
    return answer(await change_order(log, order_id, change))


@immutable
class AskingChange(AskingByRequest):
    """One request for a command on an order that exists."""

    @property
    def caller(self) -> Caller:
        return self.asking.caller

    @property
    def settings(self) -> Settings:
        return self.asking.settings

    async def carry_out(
        self,
        order: str,
        body: ChangeBody,
        kind: type[OrderCommand],
        command: Callable[[FoldedOrder], OrderCommand],
        texts: tuple[OrderText, ...] = (),
        authorize: Callable[[], None] | None = None,
    ) -> Response:
        """The answer to the command on the order of this id or number.

        `authorize`: asked instead of whether the caller may give commands of this kind.
        """
        await self.check_parameters()
        route, caller = _route(self.request), self.caller
        authorize = authorize or (lambda: may_command(caller, kind))
        reply = await carry_out(self.asking, route, order, body, command, texts, authorize)
        return reply.response()


@raises("order-unreadable", "concurrent-update")
async def asking_change(
    asking: AskingDependency, tags: Annotated[Tags, Depends(_tags)]
) -> AskingChange:
    return AskingChange(asking.request, replace(asking.asking, tags=tags))


AskingChangeDependency = Annotated[AskingChange, Depends(asking_change)]


def _route(request: Request) -> str:
    """Method and route with its parameters but the order, which may come as id or as number and is
    what holds the key anyway."""
    route: Any = request.scope["route"]
    path: str = route.path
    for name, value in request.path_params.items():
        if name != "order_id":
            path = path.replace(f"{{{name}}}", str(value).lower())
    return f"{request.method} {path}"


def fingerprint(route: str, body: BaseModel) -> str:
    """SHA-256 of method, route and the canonical content, its first half: 128 bits in 22 letters.

    Of what was sent only: keys never expire, and a field that a later version of this service adds
    must not make old requests look like others.
    """
    sent = body.model_dump(exclude_unset=True)
    content = orjson.dumps(sent, default=str, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(f"{route}\n".encode() + content).digest()
    return urlsafe_b64encode(digest[:16])[:22].decode()


# --- parts of commands ----------------------------------------------------------------------------

# Checked with the rules, like an id that the order does not have.
PartPath = Annotated[
    str, Path(description="Its id in the order's document.", json_schema_extra={"format": "uuid"})
]
LinePath = Annotated[str, Path(description="A line_id of the order's items.", examples=["1"])]


def part_id(path: str) -> UUID:
    """The id of a payment, shipment, refund or return; NotFound for what cannot be one."""
    found = parse_uuid(path)
    if found is None:
        raise NotFound("not-found", "The order has nothing with this id: read it again.")
    return found


def line_id_of(path: str) -> int:
    if not _LINE_ID.fullmatch(path) or int(path) > LINE_ID_MAX:
        raise NotFound("line-not-found", "The order has no such line: read it again.")
    return int(path)


def written(kind: str, body: str | None) -> tuple[UUID | None, tuple[OrderText, ...]]:
    """The reference to a free text, and the text, where there is one."""
    if body is None:
        return None, ()
    text = OrderText(uuid4(), kind, body)
    return text.text_id, (text,)


# --- what is answered -----------------------------------------------------------------------------


def changes(summary: str, *slugs: str) -> dict[str, Any]:
    """For the decorator of a command's route: how it is described, with the problems of its own."""
    headers = ("ETag", consistency_token.HEADER, "Idempotent-Replayed")
    slugs = (*slugs, "order-full")
    responses = documented(*slugs, says="The order; in a dry run its preview.", may_send=headers)
    return {"summary": summary, "response_model": Order | DryRun, "responses": responses}


def answer(answer: Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    found = PRIVATE | {
        "ETag": etag(answer.order),
        consistency_token.HEADER: consistency_token.token_of(answer.order),
        **(headers or {}),
    }
    if answer.replayed:
        found["Idempotent-Replayed"] = "true"
    return Reply(status, found, document(answer.order))


def preview_answer(preview: Preview, **unknown: None) -> Reply:
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
