"""The one way to define a route for a command on an existing order.

A route declares its path, command, summary and own problems, and decorates the function that builds
the command. The rest is the same for all routes, and is done here.
"""

from collections.abc import Callable
from inspect import Parameter, Signature, getdoc, signature
from operator import attrgetter
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from order_service.accounts.api_keys import Scope
from order_service.api.orders.command_context import (
    ChangeContextDependency,
    CommandContext,
    route_of,
)
from order_service.api.orders.fields import free_text
from order_service.api.orders.permissions import (
    COMMAND_SCOPES,
    may_command,
    visible_to,
)
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
# Parameters that a build function may have; its others are parameters of the path.
_BUILD_PARAMETERS = ("body", "context", "order", "text_ref")


class CommandRouter(APIRouter):
    """FastAPI's router with a decorator, `command`, that adds a command route."""

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
        more_texts: Callable[[CommandContext, Any], tuple[OrderText, ...]] | None = None,
        authorize: Callable[[CommandContext, Any], None] | None = None,
    ) -> Callable[[Build], Build]:
        """Decorates a function that builds the command; its docstring describes the operation.

        The function has a parameter `body` (annotated with its model), the parameters of the path,
        and any of `context` (CommandContext), `order` (FoldedOrder) and `text_ref`. It is called
        once for each attempt, after the checks of visibility, repeat, role and precondition.

        `kind`: the command whose permission applies, unless `authorize` checks another one;
        `problems`: the slugs beyond those of every change; `text_kind`, `text_of`: the kind of a
        free text that is stored outside the events, and how to get it from the body; `more_texts`:
        others that are stored with it.
        """

        def add(build: Build) -> Build:
            check_permission = authorize or (lambda context, _: may_command(context.caller, kind))
            self.add_api_route(
                path,
                _endpoint(build, check_permission, text_kind, text_of, more_texts),
                methods=[method],
                operation_id=operation_id,
                description=getdoc(build),
                **route_options(summary, *problems, scopes=_scopes(kind)),
            )
            return build

        return add


def _scopes(kind: type[OrderCommand]) -> tuple[Scope, ...]:
    return (COMMAND_SCOPES[kind],) if kind in COMMAND_SCOPES else ()


def route_options(summary: str, *problems: str, scopes: tuple[Scope, ...]) -> dict[str, Any]:
    """How the OpenAPI document describes a route. `problems`: those beyond every change's;
    `scopes`: one of them lets an API key in."""
    headers = ("ETag", consistency_token.HEADER, "Idempotent-Replayed")
    responses = documented(
        *dict.fromkeys(("forbidden", *problems, "order-full")),
        description="The order; in a dry run its preview.",
        may_send=headers,
        scopes=scopes,
    )
    return {"summary": summary, "response_model": Order | DryRun, "responses": responses}


def _endpoint(
    build: Callable[..., OrderCommand],
    authorize: Callable[[CommandContext, Any], None],
    text_kind: str | None,
    text_of: Callable[[Any], str | None],
    more_texts: Callable[[CommandContext, Any], tuple[OrderText, ...]] | None,
) -> Callable[..., Any]:
    """The function that FastAPI calls. Its signature has the parameters of every change, and the
    path parameters of `build`."""
    parameters = signature(build).parameters
    build_names = [name for name in _BUILD_PARAMETERS if name in parameters]
    path_parameters = [p for name, p in parameters.items() if name not in _BUILD_PARAMETERS]

    async def endpoint(
        request: Request, context: CommandContext, body: ChangeBody, order_id: str, **path: str
    ) -> Response:
        await known_parameters(request)  # after the body: broken JSON is the more urgent problem
        text_ref, texts = free_text(text_kind, text_of(body)) if text_kind else (None, ())
        if more_texts is not None:
            texts += more_texts(context, body)

        def command(order: FoldedOrder) -> OrderCommand:
            values = {"body": body, "context": context, "order": order, "text_ref": text_ref}
            return build(**{name: values[name] for name in build_names}, **path)

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

    annotations = {
        "request": Request,
        "context": ChangeContextDependency,
        "body": _body(parameters["body"].annotation),
        "order_id": OrderPath,
    }
    shared = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in annotations.items()
    ]
    path_parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in path_parameters]
    setattr(endpoint, "__signature__", Signature([*shared, *path_parameters]))  # noqa: B010  # as in `raises`
    endpoint.__name__ = build.__name__
    return endpoint


def _body(model: type[ChangeBody]) -> Any:
    """The parameter for a body, which is optional if none of its members is required."""
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
    """Executes the command, or previews it in a dry run. `order`: id or number; `route`: see
    `CommandContext.metadata`."""
    caller, log = context.caller, context.log
    order_id = await log.resolve(order)
    change = Change(
        command=command,
        metadata=context.metadata(route, body, context.key),
        check_visible=lambda folded: visible_to(caller, folded),
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
