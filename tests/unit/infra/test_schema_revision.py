"""The migration that the web process requires."""

from alembic.script import ScriptDirectory

from projections.monitoring.checks.postgres import SCHEMA_REVISION
from tests.conftest import ROOT


def test_the_web_process_requires_the_newest_migration() -> None:
    assert ScriptDirectory(str(ROOT / "migrations")).get_current_head() == SCHEMA_REVISION
