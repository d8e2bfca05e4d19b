"""Adds recorded requests and responses to the OpenAPI document as examples.

tests/contract/test_examples.py sends the requests, and compares the responses with the file or
records them.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("examples.json")
FORM = "application/x-www-form-urlencoded"


@cache
def _exchanges() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(FILE.read_bytes()))


def add_examples(operation: dict[str, Any]) -> None:
    """Adds examples to the operation's parameters, request body and successful responses."""
    for exchange in _of(operation["operationId"]):
        name, request = exchange["name"], exchange["request"]
        for parameter in operation.get("parameters", ()):
            sent = request.get({"header": "headers"}.get(parameter["in"], parameter["in"]), {})
            if parameter["name"] in sent:
                value = _typed(sent[parameter["name"]], parameter["schema"])
                parameter.setdefault("examples", {})[name] = {"value": value}
        for media_type, kind in (("application/json", "body"), (FORM, "form")):
            if kind in request:
                content = operation["requestBody"]["content"][media_type]
                content.setdefault("examples", {})[name] = {"value": request[kind]}
        answer = operation["responses"][str(exchange["status"])]
        if exchange["media_type"]:
            content = answer["content"][exchange["media_type"]]
            content.setdefault("examples", {})[name] = {"value": exchange["body"]}


def _typed(text: str, schema: dict[str, Any]) -> Any:
    """The parameter's value as its schema's type."""
    kinds = {kind.get("type") for kind in schema.get("anyOf", [schema])}
    return json.loads(text) if kinds & {"integer", "boolean"} else text


def _of(operation_id: str) -> Iterator[dict[str, Any]]:
    return (exchange for exchange in _exchanges() if exchange["operation"] == operation_id)
