"""The one form of a route that gives a command to an order that exists.

A route names its path, the command, the problems of its own and its summary; the function that it
decorates makes the command. Everything else happens here, alike for all of them.
"""

from collections.abc import Callable
from inspect import Parameter, Signature, getdoc, signature
from operator import attrgetter
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from order_service.api.orders.command_context import (
    ChangeContextDependency,
    CommandContext,
    route_of,
)
from order_service.api.orders.fields import free_text
from order_service.api.orders.permissions import is_for_staff, may_command, visible_to
from order_service.api.orders.replies import reply_with, reply_with_preview
from order_service.commands.handler import Change, Precondition, change_order, preview_change
from order_service.documents import consistency_token
from order_service.documents.order import Order
from order_service.documents.preview import DryRun
from order_service.domain.commands import OrderCommand
from order_service.ids import now
from order_service.log.append import OrderText
from order_service.log.fold import FoldedOrder
from order_service.web.fields import ChangeBody
from order_service.web.json_body import json_body
from order_service.web.openapi.annotations import documented
from order_service.web.order_path import OrderPath
from order_service.web.query_parameters import known_parameters
from order_service.web.responses import Reply

Build = TypeVar("Build", bound=Callable[..., OrderCommand])
# What a function that makes a command may ask for by name; its other parameters are of the path.
_GIVEN = ("body", "context", "order", "text_ref")


class CommandRouter(APIRouter):
    """FastAPI's router, whose `command` adds a route."""

    def command(
        self,
        method: str,
        path: str,
        kind: type[OrderCommand],
        *,
        operation_id: str,
        summary: str,
        problems: tuple[str, ...] = (),
        text_kind: str | None = None,
        text_of: Callable[[Any], str | None] = attrgetter("note"),
        authorize: Callable[[CommandContext, Any], None] | None = None,
    ) -> Callable[[Build], Build]:
        """Decorates a function that makes the command; its docstring describes the operation.

        The function takes, by these names, what it needs of: `body` (always, with its model),
        `context` (CommandContext), `order` (FoldedOrder), `text_ref`; and the parameters of the
        path. It is called after visibility, repeat, role and precondition have been checked, once
        for each attempt.

        `kind`: the command whose permission applies, unless `authorize` checks that of the body;
        `problems`: beside those that every change may answer; `text_kind`, `text_of`: a free text
        that is kept beside the events, and where the body has it.
        """

        def add(build: Build) -> Build:
            own_problems = ("forbidden", *problems) if is_for_staff(kind) else problems
            allow = authorize or (lambda context, _: may_command(context.caller, kind))
            self.add_api_route(
                path,
                _endpoint(build, allow, text_kind, text_of),
                methods=[method],
                operation_id=operation_id,
                description=getdoc(build),
                **described(summary, *own_problems),
            )
            return build

        return add


def described(summary: str, *problems: str) -> dict[str, Any]:
    """How a route of a command on an order is described. `problems`: those of its own."""
    headers = ("ETag", consistency_token.HEADER, "Idempotent-Replayed")
    responses = documented(
        *problems, "order-full", says="The order; in a dry run its preview.", may_send=headers
    )
    return {"summary": summary, "response_model": Order | DryRun, "responses": responses}


def _endpoint(
    build: Callable[..., OrderCommand],
    authorize: Callable[[CommandContext, Any], None],
    text_kind: str | None,
    text_of: Callable[[Any], str | None],
) -> Callable[..., Any]:
    """For FastAPI: with the parameters of every change, and those of `build` that are of the
    path."""
    parameters = signature(build).parameters
    wanted = [name for name in _GIVEN if name in parameters]
    of_path = [parameter for name, parameter in parameters.items() if name not in _GIVEN]

    async def endpoint(
        request: Request, context: CommandContext, body: ChangeBody, order_id: str, **path: str
    ) -> Response:
        await known_parameters(request)  # broken JSON is the more urgent problem
        text_ref, texts = free_text(text_kind, text_of(body)) if text_kind else (None, ())

        def command(order: FoldedOrder) -> OrderCommand:
            given = {"body": body, "context": context, "order": order, "text_ref": text_ref}
            return build(**{name: given[name] for name in wanted}, **path)

        reply = await execute(
            context,
            route_of(request),
            order_id,
            body,
            command,
            texts,
            lambda: authorize(context, body),
        )
        return reply.response()

    taken = {
        "request": Request,
        "context": ChangeContextDependency,
        "body": _body(parameters["body"].annotation),
        "order_id": OrderPath,
    }
    shared = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=t) for name, t in taken.items()]
    of_path = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in of_path]
    setattr(endpoint, "__signature__", Signature([*shared, *of_path]))  # noqa: B010  # as in `raises`
    endpoint.__name__ = build.__name__
    return endpoint


def _body(model: type[ChangeBody]) -> Any:
    """May be left out where none of its members is required."""
    optional = not any(field.is_required() for field in model.model_fields.values())
    return Annotated[model, Depends(json_body(model, optional=optional))]


async def execute(
    context: CommandContext,
    route: str,
    order: str,
    body: ChangeBody,
    command: Callable[[FoldedOrder], OrderCommand],
    texts: tuple[OrderText, ...],
    authorize: Callable[[], None],
) -> Reply:
    """The answer to the command on the order with this id or number. `route`: as of
    `CommandContext.metadata`."""
    caller, log = context.caller, context.log
    order_id = await log.resolve(order)
    change = Change(
        command=command,
        metadata=context.metadata(route, body, context.key),
        visible=lambda folded: visible_to(caller, folded),
        authorize=authorize,
        precondition=Precondition(
            context.tags,
            body.expected_version,
            context.settings.REQUIRE_IF_MATCH,
        ),
        texts=texts,
    )
    if context.dry_run:
        return reply_with_preview(await preview_change(log, order_id, change, now()))
    return reply_with(await change_order(log, order_id, change))
