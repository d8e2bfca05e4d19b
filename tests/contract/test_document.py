"""The OpenAPI document, whole: nothing is left to be made up by a tool or guessed by a reader."""

import re
from typing import Any

import jsonschema_rs
import pytest

from order_service.web.problems.catalogue import CATALOGUE
from tests.conftest import ROOT
from tests.support.http.conformance import known_contract

CONTRACT = known_contract()
OPERATIONS: list[dict[str, Any]] = [
    operation for path in CONTRACT.document["paths"].values() for operation in path.values()
]
RAISED = re.compile(
    r"(?:InvalidRequest|RuleViolation|NotFound|Unavailable|UnreadableEvent|violation|Problem|raises|"
    r'unauthorized|__init__)\(\s*(?:order,\s*|[a-z_]+\.order,\s*|\d{3},\s*)?"([a-z]+(?:-[a-z]+)+)"'
)
# Of the command line, and of fields, where they become errors of `validation`.
OF_NO_ANSWER = {"invalid-email", "invalid-role", "weak-password"}
# Served for addresses and methods that no operation has.
OF_NO_OPERATION = {"header-fields-too-large", "method-not-allowed", "not-acceptable"}


def test_operation_ids_are_made_by_hand_and_differ() -> None:
    ids = CONTRACT.operation_ids

    assert len(set(ids)) == len(ids)
    assert [i for i in ids if not re.fullmatch("[a-z]+(_[a-z]+)+", i)] == []


each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=[operation["operationId"] for operation in OPERATIONS]
)


@each_operation
def test_every_operation_and_parameter_is_described(operation: dict[str, Any]) -> None:
    parameters = operation.get("parameters", ())

    assert [name for name in ("summary", "description", "tags") if not operation[name]] == []
    assert [one["name"] for one in parameters if not one.get("description")] == []


@each_operation
def test_every_answer_has_a_schema(operation: dict[str, Any]) -> None:
    answers = {
        status: CONTRACT.resolved(response) for status, response in operation["responses"].items()
    }

    assert [status for status, answer in answers.items() if not answer["description"]] == []
    without = [
        (status, media_type)
        for status, answer in answers.items()
        for media_type, content in answer.get("content", {}).items()
        if "schema" not in content
    ]
    assert without == []


@pytest.mark.parametrize("name", CONTRACT.document["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    components = CONTRACT.document["components"]
    whole = {"$ref": f"#/components/schemas/{name}", "components": components}

    assert jsonschema_rs.Draft202012Validator(whole)


def test_every_problem_type_belongs_to_an_operation() -> None:
    served = {
        slug
        for operation in OPERATIONS
        for response in operation["responses"].values()
        for content in CONTRACT.resolved(response).get("content", {}).values()
        for slug in content.get("examples", {})
    }

    assert set(CATALOGUE) - served == OF_NO_OPERATION


@pytest.mark.parametrize("slug", CONTRACT.document["components"]["examples"])
def test_every_problem_example_is_as_its_schema_says(slug: str) -> None:
    name = "".join(word.capitalize() for word in slug.split("-")) + "Problem"
    example = CONTRACT.document["components"]["examples"][slug]

    CONTRACT.check_body(slug, {"$ref": f"#/components/schemas/{name}"}, example["value"])


def test_every_code_of_the_source_is_a_problem_type() -> None:
    raised = set()
    for folder in ("order_service", "projections"):
        for file in (ROOT / folder).rglob("*.py"):
            raised |= set(RAISED.findall(file.read_text()))

    assert len(raised) > 30
    assert raised - set(CATALOGUE) == OF_NO_ANSWER
