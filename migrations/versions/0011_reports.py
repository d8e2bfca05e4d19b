"""Reports with gross beside revenue, and by the shop's days."""

from alembic import op
from sqlalchemy import text

from projections.read_models.shop_time import version_here

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = ("gross_minor", "self_service_minor")
# A live generation that has taken in nothing yet is as good as built by any version of the code: as in 0004.
EMPTY = """
UPDATE read_models m SET projection_version = {} WHERE name = '{}' AND NOT EXISTS
(SELECT FROM checkpoints c WHERE c.name = m.name AND c.generation = m.live_generation AND c.position > 0)
"""


def upgrade() -> None:
    op.execute("SET ROLE order_projector")
    for column in COLUMNS:  # sums of amounts, which may exceed bigint
        op.execute(
            f"ALTER TABLE read_models.sales_by_day ADD COLUMN {column} numeric NOT NULL DEFAULT 0"
        )
    op.execute("RESET ROLE")
    _set_versions(version_here(2))


def downgrade() -> None:
    op.execute("SET ROLE order_projector")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE read_models.sales_by_day DROP COLUMN {column}")
    op.execute("RESET ROLE")
    _set_versions(1)


def _set_versions(version: int) -> None:
    for name in ("sales_by_day", "sales_by_hour"):
        op.execute(text(EMPTY.format(version, name)))
