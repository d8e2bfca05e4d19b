"""The verdict on the findings of pip-audit."""

import runpy
from pathlib import Path
from typing import Any

AUDIT = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "audit.py"))


def vulnerability(id_: str, *aliases: str) -> dict[str, Any]:
    return {"id": id_, "aliases": [*aliases], "fix_versions": ["2.0"]}


def test_a_vulnerability_that_is_not_allowed_is_reported() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": [vulnerability("PYSEC-1", "CVE-1")]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "unknown"},
        ]
    }

    assert AUDIT["verdict"](report) == (["a 1.0: PYSEC-1, fixed in 2.0"], 2)


def test_a_vulnerability_that_is_allowed_by_any_of_its_ids_is_not_reported() -> None:
    for id_ in AUDIT["ALLOWED"]:
        for finding in (vulnerability(id_), vulnerability("PYSEC-1", id_)):
            report = {"dependencies": [{"name": "a", "version": "1", "vulns": [finding]}]}

            assert AUDIT["verdict"](report) == ([], 1)
