"""Completes FastAPI's OpenAPI document.

FastAPI provides paths, parameters and response models. This module adds the bodies that `json_body`
declares, every problem that an operation may return, headers, examples and links. And it writes
schemas as generators of clients read them: named sets of values, no titles made of names, no
`default: null`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from order_service.web.json_body import WITH_BODY, body_of
from order_service.web.openapi.annotations import (
    ALWAYS_SENT,
    PROBLEMS,
    SCOPES,
    header_components,
    headers,
)
from order_service.web.openapi.examples import add_examples
from order_service.web.openapi.links import add_links
from order_service.web.problems.catalogue import CATALOGUE, example_of, title_of, type_of
from order_service.web.problems.problem import MEDIA_TYPE
from order_service.web.problems.problem_type import MEMBERS
from order_service.web.rate_limits import UNLIMITED_PATHS

# Problems that any request may get.
_ANY = ("malformed-request", "content-too-large", "internal-error")
_SCHEMA = "#/components/schemas/{model}"


# The same token that the OAuth2 flow of the documentation's Authorize button issues; a client may
# send one that it got otherwise.
_ACCESS_TOKEN = {"AccessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
_DESCRIPTION = (
    "Orders of a shop: placed, paid, shipped, returned. Amounts are strings in the order's "
    "currency; numbers are taken, too. Every error is a problem document (RFC 9457) whose `type` "
    "says what is wrong."
)
_TAGS = {
    "orders": "Place orders, change them, and see what may be done with them.",
    "queries": "Read orders, lists and reports.",
    "history": "What happened to an order, and its texts.",
    "lines": "Change the lines of an order that is not paid.",
    "payments": "What payment providers report, and what the shop records itself.",
    "shipments": "Ship an order, in parts or whole.",
    "cancellations": "Cancel an order, or units of it.",
    "refunds": "Pay money back.",
    "returns": "Take goods back.",
    "streams": "Follow events as they happen.",
    "accounts": "Register and log in.",
    "api-keys": "Credentials of programs. For admins.",
    "operations": "Run the read side: read models, dead letters, health. For staff.",
    "service": "Probes, the version, and what problem types mean.",
}
_API_KEY = {
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "osk_",
        "description": "The key of a program, from POST /api-keys/. An operation lists the scopes "
        "that it needs.",
    }
}


def openapi(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        servers=[{"url": "/", "description": "The service that serves this document."}],
        contact={"name": "The Order Service authors"},
        license_info={"name": "MIT License", "identifier": "MIT"},
        routes=app.routes,
    )
    bodies: list[type[BaseModel]] = []
    shared: dict[str, Any] = {}
    for context in iter_route_contexts(app.routes):
        if not context.include_in_schema:
            continue
        for method in context.methods or ():
            operation = document["paths"][context.path][method.lower()]
            body = body_of(context.original_route)
            if body is not None:
                bodies.append(body.model)
                operation["requestBody"] = body.openapi()
            if "security" not in operation:
                operation["security"] = []  # for everybody
            else:
                operation["security"].append({name: [] for name in _ACCESS_TOKEN})
                scopes = _scopes(operation)
                operation["security"] += [{"ApiKey": [scope]} for scope in scopes]
            slugs = _problems(context.original_route, method, operation)
            _describe_responses(operation, slugs, shared)
            _name_headers(operation)
            add_examples(operation)
    add_links(document["paths"])
    components = document["components"]
    components["securitySchemes"] |= _ACCESS_TOKEN | _API_KEY
    problems = {schema_name(slug): _problem_schema(slug) for slug in CATALOGUE}
    enums: Mapping[str, tuple[str, ...]] = app.state.enums
    named = {name: {"type": "string", "enum": [*values]} for name, values in enums.items()}
    for schemas in (_body_schemas(bodies), {"Problem": PROBLEM_SCHEMA}, problems, named):
        assert not components["schemas"].keys() & schemas.keys(), "no name stands for two schemas"
        components["schemas"] |= schemas
    components["examples"] = {slug: {"value": example_of(slug)} for slug in CATALOGUE}
    components["headers"] = header_components()
    components["responses"] = dict(sorted(shared.items()))
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    references = {tuple(values): _SCHEMA.format(model=name) for name, values in enums.items()}
    for path in document["paths"].values():
        _simplify(path, references)
    for name, schema in components["schemas"].items():
        if name not in enums:
            _simplify(schema, references)
    return document


_EXAMPLES = ("example", "examples", "x-scopes")


def _simplify(part: Any, references: Mapping[tuple[str, ...], str]) -> None:
    """Replaces sets of values by references to their names, and leaves out what is made up: titles
    that repeat a member's name, and `null` as the default of what may be left out."""
    if isinstance(part, list):
        for one in part:
            _simplify(one, references)
    if not isinstance(part, dict):
        return
    if isinstance(part.get("title"), str) and part.keys() & {"type", "anyOf", "allOf", "$ref"}:
        del part["title"]
    if part.get("default", ...) is None:
        del part["default"]
    values = part.get("enum")
    if isinstance(values, list) and tuple(values) in references:
        del part["enum"], part["type"]
        part["$ref"] = references[tuple(values)]
    for name, one in part.items():
        if name not in _EXAMPLES:
            _simplify(one, references)


def _scopes(operation: dict[str, Any]) -> list[str]:
    responses = operation["responses"].values()
    return [scope for response in responses for scope in response.pop(SCOPES, ())]


def _name_headers(operation: dict[str, Any]) -> None:
    """Gives header parameters their usual names and string schemas: FastAPI derives names from
    arguments, and describes a header that may be repeated as an array."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "header":
            parameter["name"] = "-".join(word.capitalize() for word in parameter["name"].split("-"))
            pattern = {k: v for k, v in parameter["schema"].items() if k == "pattern"}
            parameter["schema"] = {"type": "string", **pattern}


def _body_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    inputs = [(model, "validation") for model in dict.fromkeys(models)]
    _, definitions = models_json_schema(inputs, ref_template=_SCHEMA)  # type: ignore[arg-type]
    found: dict[str, Any] = definitions.get("$defs", {})
    return found


# --- responses ------------------------------------------------------------------------------------


def _problems(route: Any, method: str, operation: dict[str, Any]) -> tuple[str, ...]:
    """The slugs of all problems that the operation may return, each once."""
    slugs = list(_ANY)
    if route.path not in UNLIMITED_PATHS:
        slugs += ("quota-exceeded", "overloaded")
    if method in WITH_BODY:
        slugs.append("unsupported-media-type")
    if "service" not in operation["tags"]:
        slugs.append("dependency-unavailable")
    if any(_can_be_invalid(parameter) for parameter in operation.get("parameters", ())):
        slugs.append("validation")
    if "{order_id}" in route.path_format:
        slugs.append("order-not-found")
    for dependant in _tree(route.dependant):
        slugs += getattr(dependant.call, "problems", ())
    for response in operation["responses"].values():
        slugs += response.pop(PROBLEMS, ())
    return tuple(dict.fromkeys(slugs))


def _tree(dependant: Dependant) -> Iterator[Dependant]:
    for dependency in dependant.dependencies:
        yield dependency
        yield from _tree(dependency)


def _can_be_invalid(parameter: dict[str, Any]) -> bool:
    """Whether FastAPI refuses some values of this parameter."""
    schema = parameter["schema"]
    kinds = schema.get("anyOf", [schema])
    plain = ({"type": "string"}, {"type": "null"}, {"type": "array", "items": {"type": "string"}})
    shown = {"title", "description", "default", "examples"}
    return any({k: v for k, v in kind.items() if k not in shown} not in plain for kind in kinds)


def _describe_responses(
    operation: dict[str, Any], slugs: tuple[str, ...], shared: dict[str, Any]
) -> None:
    """Replaces problems by references to `shared`, since most operations have the same ones."""
    responses = operation["responses"]
    if "validation" not in slugs:
        responses.pop("422", None)  # added by FastAPI, with another schema
    for response in responses.values():
        # FastAPI calls every stream a string. The schema is that of one event, as tools read it.
        response.get("content", {}).get("text/event-stream", {}).get("schema", {}).pop("type", None)
        for content in response.get("content", {}).values():
            if "anyOf" in content.get("schema", {}):
                # Generators make one type with the members of all of `anyOf`.
                content["schema"]["oneOf"] = content["schema"].pop("anyOf")
        response["headers"] = response.get("headers", {}) | headers(*ALWAYS_SENT)
    for status in {CATALOGUE[slug].status for slug in slugs}:
        of_status = sorted(slug for slug in slugs if CATALOGUE[slug].status == status)
        name = ".".join(of_status)
        shared[name] = _problem_response(of_status)
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    operation["responses"] = dict(sorted(responses.items()))


def _problem_response(slugs: list[str]) -> dict[str, Any]:
    schemas = [{"$ref": _SCHEMA.format(model=schema_name(slug))} for slug in slugs]
    content = {
        "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        "examples": {slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs},
    }
    always, sometimes = _problem_headers(slugs)
    return {
        "description": " ".join(CATALOGUE[slug].meaning for slug in slugs),
        "headers": headers(*ALWAYS_SENT, *always) | headers(*sometimes, always=False),
        "content": {MEDIA_TYPE: content},
    }


def _problem_headers(slugs: list[str]) -> tuple[list[str], list[str]]:
    """The headers that all of these problems have, and those that only some have."""
    sets = [set(CATALOGUE[slug].headers) for slug in slugs]
    always = set.intersection(*sets)
    return sorted(always), sorted(set.union(*sets) - always)


# --- components -----------------------------------------------------------------------------------

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Programs should act on `type`, on which further members depend.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "example": "/problems/validation"},
        "title": {"type": "string", "description": "The name of the problem type."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {
            "type": "string",
            "description": "An explanation of this occurrence, for people.",
        },
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {
            "type": "string",
            "description": "The request's id, as in X-Request-Id and in the logs.",
        },
        "trace_id": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "The W3C trace id, if the request belongs to a trace.",
        },
    },
}


def schema_name(slug: str) -> str:
    return "".join(word.capitalize() for word in slug.split("-")) + "Problem"


def _problem_schema(slug: str) -> dict[str, Any]:
    """The schema of one problem type: its `type`, `status` and members."""
    kind, uri = CATALOGUE[slug], type_of(slug)
    properties: dict[str, Any] = {"type": {"const": uri}, "status": {"const": kind.status}}
    for name in (*kind.members, *kind.may_have):
        properties[name] = {**MEMBERS[name].schema, "description": MEMBERS[name].meaning}
    return {
        "title": title_of(uri, kind.status),
        "description": kind.meaning,
        "allOf": [{"$ref": _SCHEMA.format(model="Problem")}],
        "required": list(kind.members),
        "properties": properties,
    }
