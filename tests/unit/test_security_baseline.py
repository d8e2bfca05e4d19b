"""Every area of the security baseline names tests that exist."""

import re
from pathlib import Path

import pytest

from projections.worker.tasks import app
from tests.security_baseline import BASELINE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("area", BASELINE)
def test_every_area_names_tests_that_exist(area: str) -> None:
    assert BASELINE[area]
    assert [test for test in BASELINE[area] if not exists(test)] == []


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text() if (ROOT / file).exists() else ""
    return re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) is not None


def test_celery_takes_json_only() -> None:
    assert (app.conf.accept_content, app.conf.result_accept_content) == (["json"], ["json"])
    assert app.conf.task_serializer == "json"
