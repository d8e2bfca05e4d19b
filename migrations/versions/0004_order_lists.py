"""Filters, sorting and search of lists of orders: more columns of order_view, and their indexes."""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Null in a generation that was built before: workers of the older code, which lack these columns, continue to write it
# until a replay by the newer code swaps in a generation that has them.
COLUMNS = {
    "number": "text",
    "external_reference": "text",
    "amount_due_minor": "bigint",
    "credit_due_minor": "bigint",
    "lines": "integer",
    "units": "integer",
    "terms": "text[]",  # in lower case: SKUs, tracking numbers, the external reference
}
# Each event of an order writes each index. Only the orders of one batch of appends share a time, so a list sorts those
# when it reads them; all orders may share a total, so that index has the order's id. The last three leave out the value
# that every order comes to (PAID, DELIVERED, no credit). A list by another value needs them: otherwise it would read
# from the newest order to the oldest.
INDEXES = {
    "order_view_created": "(created_at)",
    "order_view_updated": "(updated_at)",
    "order_view_status": "(status, created_at)",
    "order_view_total": "(currency, total_minor, order_id)",
    "order_view_number": "(number text_pattern_ops)",
    "order_view_terms": "USING gin (terms)",
    "order_view_payment": "(payment_status, created_at) WHERE payment_status <> 'PAID'",
    "order_view_fulfillment": "(fulfillment_status, created_at) WHERE fulfillment_status <> 'DELIVERED'",
    "order_view_credit": "(created_at) WHERE credit_due_minor > 0",
}
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
    for name, of in INDEXES.items():
        # ONLY: indexing a full generation would lock readers out. Each generation that is built from now on has it.
        # An empty generation is indexed at once.
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX {name} ON {'' if empty else 'ONLY '}read_models.order_view {of}"
        )
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(2))


def downgrade() -> None:
    empty = _live_generation_is_empty()
    op.execute("SET ROLE order_projector")
    for name in INDEXES:
        op.execute(f"DROP INDEX read_models.{name}")
    columns = ", ".join(f"DROP COLUMN {name}" for name in COLUMNS)
    op.execute(f"ALTER TABLE read_models.order_view {columns}")
    op.execute("RESET ROLE")
    if empty:
        op.execute(VERSION.format(1))


def _live_generation_is_empty() -> bool:
    if op.get_context().as_sql:
        return True
    positions = op.get_bind().execute(text(CHECKPOINTS)).scalars().all()
    return not any(positions)
