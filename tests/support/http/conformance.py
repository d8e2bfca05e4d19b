"""Whether an answer is one that the OpenAPI document announces: asked of every answer in the tests.

So no status, media type, header, problem type or member is served that is not documented.
"""

import re
from copy import deepcopy
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

from order_service.main import create_app
from order_service.web.openapi.document import openapi
from order_service.web.problems.problem import MEDIA_TYPE


class Contract:
    """The document, asked by method and path."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = _closed(document["components"])
        self._validators: dict[str, Any] = {}
        self._templates: dict[str, str | None] = {}
        # fewest parameters first: /orders/export/ is not an order's id
        self._paths = sorted(
            ((_pattern(path), path) for path in document["paths"]), key=lambda p: p[1].count("{")
        )

    @property
    def operation_ids(self) -> list[str]:
        return [o["operationId"] for path in self.document["paths"].values() for o in path.values()]

    def where(self, operation_id: str) -> tuple[str, str]:
        """Method and path template."""
        for template, path in self.document["paths"].items():
            for method, operation in path.items():
                if operation["operationId"] == operation_id:
                    return method.upper(), template
        raise AssertionError(f"no operation is called {operation_id}")

    @staticmethod
    def parameters(template: str) -> list[str]:
        return re.findall(r"\{(\w+)\}", template)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """None: the document has no such operation."""
        template = self.template(path)
        found: dict[str, Any] | None = None
        if template is not None:
            found = self.document["paths"][template].get(method.lower())
        return found

    def template(self, path: str) -> str | None:
        if path not in self._templates:
            other = path[:-1] if path.endswith("/") else f"{path}/"
            fits = (t for p, t in self._paths if p.fullmatch(path) or p.fullmatch(other))
            self._templates[path] = next(fits, None)
        return self._templates[path]

    async def check(self, response: httpx.Response) -> None:
        """httpx' hook. AssertionError: the answer is not as documented."""
        request = response.request
        operation = self.operation(request.method, request.url.path)
        if operation is None:
            return  # 404, 405, the documentation itself
        described = operation["responses"].get(str(response.status_code))
        where = f"{operation['operationId']} {response.status_code}"
        assert described is not None, f"{where} is not documented: {await response.aread()!r}"
        described = self.resolved(described)
        self._check_headers(where, response, described)
        media_type = response.headers.get("content-type", "").partition(";")[0]
        content = described.get("content")
        if not content:
            assert media_type == "", f"{where} has no documented body, but {media_type}"
            return
        assert media_type in content, f"{where}: {media_type} is not documented"
        if media_type in ("application/json", MEDIA_TYPE):
            await response.aread()
            self.check_body(where, content[media_type]["schema"], response.json())

    def check_body(self, where: str, schema: dict[str, Any], body: Any) -> None:
        """AssertionError: the body differs from the schema, or has members it does not name."""
        key = str(schema)
        if key not in self._validators:
            whole = {**schema, "components": self._components}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        errors = [
            f"{e.instance_path}: {e.message}" for e in self._validators[key].iter_errors(body)
        ]
        assert not errors, f"{where}: {errors} in {body}"

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        """The component that it refers to, or itself."""
        while "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    def _check_headers(
        self, where: str, response: httpx.Response, described: dict[str, Any]
    ) -> None:
        for name, header in described.get("headers", {}).items():
            if self.resolved(header).get("required"):
                assert name in response.headers, f"{where} lacks {name}"


@cache
def known_contract() -> Contract:
    """Of this release: settings change no route, so it is the same for all apps."""
    return Contract(openapi(create_app()))


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))


def _closed(components: dict[str, Any]) -> dict[str, Any]:
    """The schemas with no room for members that they do not name."""
    closed = deepcopy(components)
    for name, schema in closed["schemas"].items():
        if name != "Problem" and "properties" in schema:
            schema.setdefault("unevaluatedProperties", False)
    return closed
