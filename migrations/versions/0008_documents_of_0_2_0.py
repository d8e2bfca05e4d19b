"""order_view has the documents of version 0.2.0: its version rose, its columns are the same."""

from alembic import op
from sqlalchemy import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# One that has taken in nothing yet is as good as built by any version of the code: as in 0004.
CHECKPOINTS = """
SELECT c.position FROM checkpoints c JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation
WHERE c.name = 'order_view' ORDER BY c.partition FOR UPDATE OF c
"""
VERSION = "UPDATE read_models SET projection_version = {} WHERE name = 'order_view'"


def upgrade() -> None:
    if _live_generation_is_empty():
        op.execute(VERSION.format(5))


def downgrade() -> None:
    if _live_generation_is_empty():
        op.execute(VERSION.format(3))


def _live_generation_is_empty() -> bool:
    if op.get_context().as_sql:
        return True
    positions = op.get_bind().execute(text(CHECKPOINTS)).scalars().all()
    return not any(positions)
