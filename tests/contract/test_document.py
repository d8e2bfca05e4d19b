"""The OpenAPI document, whole: nothing is left to be made up by a tool or guessed by a reader."""

import re
from typing import Any

import jsonschema_rs

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


def test_every_operation_and_parameter_is_described() -> None:
    for operation in OPERATIONS:
        assert operation["summary"], operation["operationId"]
        assert operation["description"], operation["operationId"]
        assert operation["tags"], operation["operationId"]
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (operation["operationId"], parameter["name"])


def test_every_answer_has_a_schema() -> None:
    for operation in OPERATIONS:
        for status, response in operation["responses"].items():
            found = CONTRACT.resolved(response)
            assert found["description"], (operation["operationId"], status)
            for content in found.get("content", {}).values():
                assert content.keys() & {"schema", "itemSchema"}, operation["operationId"]


def test_every_schema_is_one() -> None:
    components = CONTRACT.document["components"]
    for name in components["schemas"]:
        whole = {"$ref": f"#/components/schemas/{name}", "components": components}
        assert jsonschema_rs.Draft202012Validator(whole), name


def test_every_problem_type_belongs_to_an_operation() -> None:
    served = {
        slug
        for operation in OPERATIONS
        for response in operation["responses"].values()
        for content in CONTRACT.resolved(response).get("content", {}).values()
        for slug in content.get("examples", {})
    }

    assert set(CATALOGUE) - served == OF_NO_OPERATION


def test_every_problem_example_is_as_its_schema_says() -> None:
    for slug, example in CONTRACT.document["components"]["examples"].items():
        name = "".join(word.capitalize() for word in slug.split("-")) + "Problem"
        schema = {"$ref": f"#/components/schemas/{name}"}
        CONTRACT.check_body(slug, schema, example["value"])


def test_every_code_of_the_source_is_a_problem_type() -> None:
    raised = set()
    for folder in ("order_service", "projections"):
        for file in (ROOT / folder).rglob("*.py"):
            raised |= set(RAISED.findall(file.read_text()))

    assert len(raised) > 30
    assert raised - set(CATALOGUE) == OF_NO_ANSWER
