"""Serves the interactive documentation and the OpenAPI document.

FastAPI's own page loads Swagger UI from a content delivery network and starts it with an inline
script. Here the files come from a Python package, so the page needs no other server and no
`unsafe-inline` in its content security policy.
"""

from functools import lru_cache
from importlib.resources import files

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from order_service.web.admission import admitted
from order_service.web.openapi.document import openapi

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
    """Adds the routes `/docs` and `/openapi.json`."""
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
    def document_bytes() -> bytes:
        return orjson.dumps(openapi(app))

    async def document(request: Request) -> Response:
        return Response(document_bytes(), media_type="application/json")

    for path, endpoint in (
        ("/docs", page),
        ("/docs/start.js", start),
        ("/docs/{name}", file),
        ("/openapi.json", document),
    ):
        app.add_route(path, admitted(endpoint), include_in_schema=False)
