"""order_view has the documents of version 0.2.0, and columns for prices that customers set and for
authorizations that expire."""

from alembic import op
from sqlalchemy import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Null in a generation that was built before, like those of 0004.
COLUMNS = {
    "prices_trusted": "boolean",
    "on_hold": "boolean",
    "hold_expires_at": "timestamptz",
    "self_service": "boolean",
}
INDEXES = {
    "order_view_untrusted": "(created_at) WHERE NOT prices_trusted",
    "order_view_on_hold": "(created_at) WHERE on_hold",
    "order_view_hold": "(hold_expires_at, order_id) WHERE hold_expires_at IS NOT NULL",
}
# One that has taken in nothing yet is as good as built by any version of the code: as in 0004.
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
    for name, of in INDEXES.items():
        # ONLY: indexing a full generation would lock readers out, as in 0004.
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX {name} ON {'' if empty else 'ONLY '}read_models.order_view {of}"
        )
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(5))


def downgrade() -> None:
    empty = _live_generation_is_empty()
    op.execute("SET ROLE order_projector")
    for name in INDEXES:
        op.execute(f"DROP INDEX read_models.{name}")
    columns = ", ".join(f"DROP COLUMN {name}" for name in COLUMNS)
    op.execute(f"ALTER TABLE read_models.order_view {columns}")
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(3))


def _live_generation_is_empty() -> bool:
    if op.get_context().as_sql:
        return True
    positions = op.get_bind().execute(text(CHECKPOINTS)).scalars().all()
    return not any(positions)
