"""Every fault of the matrix has a row of the bench or a test, and what the table names is there."""

import ast
from collections.abc import Iterator

from tests.conftest import ROOT
from tests.tools.faults.matrix import DEVIATIONS, FAULTS, MOUNTED, TESTS
from tests.tools.faults.rows import all_rows


def test_every_fault_is_tried() -> None:
    rows = {name.partition("-")[0] for name in all_rows()}

    assert sorted(rows | set(TESTS) | set(MOUNTED)) == sorted(FAULTS)


def test_the_tests_that_the_matrix_names_are_there() -> None:
    missing = [
        node for nodes in TESTS.values() for node in nodes if node not in {*defined_beside(node)}
    ]

    assert missing == []


def test_only_faults_of_the_matrix_deviate() -> None:
    assert set(DEVIATIONS) <= set(FAULTS)


def defined_beside(node: str) -> Iterator[str]:
    """The tests in the file of this one, if there is such a file."""
    file = node.partition("::")[0]
    for found in ast.parse((ROOT / file).read_text()).body if (ROOT / file).exists() else ():
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file}::{found.name}"
