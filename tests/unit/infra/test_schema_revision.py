"""The web process knows which migration its code needs."""

from alembic.script import ScriptDirectory

from projections.monitoring.checks.postgres import SCHEMA_REVISION
from tests.conftest import ROOT


def test_it_is_the_last_one() -> None:
    assert ScriptDirectory(str(ROOT / "migrations")).get_current_head() == SCHEMA_REVISION
