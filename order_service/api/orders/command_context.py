"""What a command's request carries beside its body: caller, idempotency key, expected versions."""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, Header, Query
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from order_service.domain.immutable import immutable
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.settings import Settings
from order_service.telemetry import logging
from order_service.web.fast_path import ParsedRequest
from order_service.web.identity import Caller, CallerDependency
from order_service.web.openapi.annotations import raises
from order_service.web.problems.problem import Problem
from order_service.web.query_parameters import Flag
from order_service.web.responses import plain_tags

Tags = frozenset[str] | Literal["*"] | None
KEY_LENGTH_MAX = 255

_KEY_SYNTAX = r'^("[ !#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$'
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x5b\x5d-\x7e]+)')
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ETAGS = re.compile(rf"[\t ,]*{_ETAG.pattern}([\t ]*,[\t ,]*{_ETAG.pattern})*[\t ,]*")
_ETAGS_SYNTAX = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'


@immutable
class CommandContext:
    """One request for a command, from FastAPI or the fast path.

    `key`: its Idempotency-Key; None in a dry run, which stores nothing. `tags`: the ETags of
    If-Match; always None for a new order.
    """

    caller: Caller
    log: EventLog
    engine: AsyncEngine
    settings: Settings
    request_id: str
    key: str | None = None
    dry_run: bool = False
    tags: Tags = None

    def metadata(self, route: str, body: BaseModel, key: str | None) -> Metadata:
        """The actor, and the fingerprint that proves a repeat of the request under its key.

        `route`: the method, and the path as in the OpenAPI document.
        """
        return Metadata(
            self.caller.actor_type,
            self.caller.user_id,
            key,
            fingerprint(route, body) if key else None,
            self.request_id,
            logging.TRACEPARENT.get(),
        )


def fingerprint(route: str, body: BaseModel) -> str:
    """The first half of a SHA-256 of method, route and canonical body: 128 bits in 22 letters.

    Only members that were sent count: keys never expire, and a field that a later version adds must
    not change the fingerprint of an old request.
    """
    sent = body.model_dump(exclude_unset=True)
    content = orjson.dumps(sent, default=str, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(f"{route}\n".encode() + content).digest()
    return urlsafe_b64encode(digest[:16])[:22].decode()


def route_of(request: Request) -> str:
    """The route for a fingerprint: the method, and the path with all its values but the order's. An
    order has an id and a number, and a key is looked up only in the order's own stream."""
    route: Any = request.scope["route"]
    path: str = route.path
    for name, value in request.path_params.items():
        if name != "order_id":
            path = path.replace(f"{{{name}}}", str(value).lower())
    return f"{request.method} {path}"


# --- headers --------------------------------------------------------------------------------------


@raises("idempotency-key-invalid", "idempotency-key-reused")
async def _idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The client's name for this request: a repeat gets the first answer.",
            json_schema_extra={"pattern": _KEY_SYNTAX},
        ),
    ] = None,
) -> str | None:
    """The key, bare or as a structured-field string. Raises Problem 400 for an invalid key, and for
    two keys: a repeat might name only the other one."""
    if idempotency_key is None:
        return None
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise invalid_key()
    return key_of(idempotency_key)


def key_of(field: str) -> str:
    """The key in an Idempotency-Key header. Raises Problem 400."""
    match = _KEY.fullmatch(field)
    key = match and (match[1] or match[2])
    if not key or len(key) > KEY_LENGTH_MAX:
        raise invalid_key()
    return key


def invalid_key() -> Problem:
    return Problem(
        400,
        "idempotency-key-invalid",
        "Send one Idempotency-Key of 1 to 255 printable ASCII characters, bare or as a string such "
        'as "8e03978e".',
    )


@raises("stale-version", "precondition-required")
async def _tags(
    if_match: Annotated[
        list[str] | None,
        Header(
            description="Execute the command only if the order has one of these ETags.",
            json_schema_extra={"pattern": _ETAGS_SYNTAX},
        ),
    ] = None,
) -> Tags:
    """The ETags of all If-Match headers, which together are one list. Raises Problem 400."""
    return None if if_match is None else tags_of(",".join(if_match))


def tags_of(tags: str) -> Tags:
    """The ETags that an If-Match header names, without codings, weak ones with their `W/`. Raises
    Problem 400."""
    tags = plain_tags(tags)
    if tags.strip() == "*":
        return "*"
    if not _ETAGS.fullmatch(tags):
        raise Problem(400, "malformed-request", 'If-Match takes entity tags like "3", or *.')
    return frozenset(f'{weak}"{opaque}"' for weak, opaque in _ETAG.findall(tags))


# --- contexts -------------------------------------------------------------------------------------


@raises("overloaded", "outcome-unknown")
async def _command_context(
    request: Request,
    caller: CallerDependency,
    key: Annotated[str | None, Depends(_idempotency_key)],
    dry_run: Annotated[
        Flag, Query(description="Answer with what the command would do, and store nothing.")
    ] = False,
) -> CommandContext:
    state = request.app.state
    return CommandContext(
        caller,
        state.log,
        state.engine,
        state.settings,
        request.state.request_id,
        None if dry_run else key,
        dry_run,
    )


CommandContextDependency = Annotated[CommandContext, Depends(_command_context)]


@raises("order-unreadable", "concurrent-update")
async def _change_context(
    context: CommandContextDependency, tags: Annotated[Tags, Depends(_tags)]
) -> CommandContext:
    return replace(context, tags=tags)


# The context of a command on an existing order.
ChangeContextDependency = Annotated[CommandContext, Depends(_change_context)]


def fast_path_context(parsed: ParsedRequest, *, order_exists: bool) -> CommandContext:
    """The same context as FastAPI's dependencies make. `order_exists`: whether the command is on an
    existing order, so that If-Match counts."""
    state = parsed.app.state
    key, tags = parsed.header(b"idempotency-key"), parsed.header(b"if-match")
    return CommandContext(
        parsed.caller,
        state.log,
        state.engine,
        state.settings,
        parsed.request_id,
        None if key is None else key_of(key),
        tags=tags_of(tags) if order_exists and tags is not None else None,
    )
