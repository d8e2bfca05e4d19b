"""The interactive documentation and the OpenAPI document behind it. May import body, problems.

FastAPI's own page loads Swagger UI from a content delivery network and starts it by inline script;
here its files come from a package that carries them, so that the page needs nobody else and no
`unsafe-inline` script.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from order_service.api.body import body_of
from order_service.api.problems import PROBLEM_SCHEMA, documented

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Order Service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon.png"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body>
</html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false,
});
"""
_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}


def install(app: FastAPI) -> None:
    """`/docs` and `/openapi.json`."""
    static = files("fastapi_offline") / "static"

    async def page(request: Request) -> Response:
        return Response(_PAGE, media_type="text/html")

    async def start(request: Request) -> Response:
        return Response(_START, media_type="text/javascript")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response((static / name).read_bytes(), 200, headers, _FILES[name])

    @lru_cache(maxsize=1)
    def described() -> bytes:
        return orjson.dumps(openapi(app))

    async def document(request: Request) -> Response:
        return Response(described(), media_type="application/json")

    for path, endpoint in (
        ("/docs", page),
        ("/docs/start.js", start),
        ("/docs/{name}", file),
        ("/openapi.json", document),
    ):
        app.add_route(path, endpoint, include_in_schema=False)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the bodies that `json_body` declares and with problems
    for errors."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    bodies = []
    for context in iter_route_contexts(app.routes):
        body = body_of(context.original_route)
        if body is None or not context.include_in_schema:
            continue
        bodies.append(body.model)
        for method in context.methods or ():
            document["paths"][context.path][method.lower()]["requestBody"] = body.openapi()
    if bodies:
        template = "#/components/schemas/{model}"
        _, definitions = models_json_schema(
            [(m, "validation") for m in bodies], ref_template=template
        )
        schemas.update(definitions["$defs"])
    schemas["Problem"] = PROBLEM_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path in document["paths"].values():
        for operation in path.values():
            _describe_errors(operation["responses"])
    return document


def _describe_errors(responses: dict[str, Any]) -> None:
    """Any operation may be refused by a limit, a failing dependency or a mistake of ours; 422 is a
    problem as well."""
    always = documented(429, 500, 503)
    if "422" in responses:
        always |= documented(422)
    for status, description in always.items():
        responses[str(status)] = description
