"""The board's columns of order_view, two more, and the index that selects its orders."""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Null in a generation that was built before, like those of 0004.
COLUMNS = {"return_open": "boolean", "refund_failed": "boolean"}
# The orders that staff still has work with, however old: few compared with those that are done. The index
# order_view_updated finds the orders that changed recently.
INDEX = """
CREATE INDEX order_view_board ON {}read_models.order_view (updated_at)
WHERE status IN ('PENDING', 'PAID', 'PARTIALLY_SHIPPED', 'SHIPPED') OR credit_due_minor > 0 OR return_open
OR refund_failed
"""
# No worker writes a generation while its checkpoints are locked. A generation with no events yet is as valid as one
# that the newer code built.
CHECKPOINTS = """
SELECT c.position FROM checkpoints c JOIN read_models m ON m.name = c.name AND m.live_generation = c.generation
WHERE c.name = 'order_view' ORDER BY c.partition FOR UPDATE OF c
"""
VERSION = "UPDATE read_models SET projection_version = {} WHERE name = 'order_view'"


def upgrade() -> None:
    empty = _live_generation_is_empty()
    columns = ", ".join(f"ADD COLUMN {name} {kind}" for name, kind in COLUMNS.items())
    op.execute("SET ROLE order_projector")
    op.execute(f"ALTER TABLE read_models.order_view {columns}")
    # ONLY: indexing a full generation would lock readers out. Each generation that is built from now on has it.
    # An empty generation is indexed at once.
    index = INDEX.format("" if empty else "ONLY ")
    op.execute(f"-- squawk-ignore require-concurrent-index-creation{index}")
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(3))


def downgrade() -> None:
    empty = _live_generation_is_empty()
    op.execute("SET ROLE order_projector")
    op.execute("DROP INDEX read_models.order_view_board")
    columns = ", ".join(f"DROP COLUMN {name}" for name in COLUMNS)
    op.execute(f"ALTER TABLE read_models.order_view {columns}")
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(2))


def _live_generation_is_empty() -> bool:
    if op.get_context().as_sql:
        return True
    positions = op.get_bind().execute(text(CHECKPOINTS)).scalars().all()
    return not any(positions)
