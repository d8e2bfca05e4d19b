"""sales_by_hour: the read model of what happened to the orders of each hour."""

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE read_models.sales_by_hour (
    generation   integer NOT NULL,
    hour         timestamptz NOT NULL,
    currency     text NOT NULL,
    fact         text NOT NULL,
    detail       text NOT NULL,
    partition    smallint NOT NULL,
    orders       bigint NOT NULL,
    amount_minor numeric NOT NULL, -- a sum of amounts, which may pass any bigint
    PRIMARY KEY (generation, hour, currency, fact, detail, partition)
) PARTITION BY LIST (generation)
"""
FIRST = """
CREATE TABLE read_models.sales_by_hour_1 PARTITION OF read_models.sales_by_hour FOR VALUES IN (1)
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)
"""
CHECKPOINTS = """
INSERT INTO checkpoints (name, generation, partition) SELECT 'sales_by_hour', 1, partition FROM partitions
"""
# Version 0 is no code's: where there is a log already, workers leave the read model alone until a replay has built it.
# To read the whole log in their turns would keep the others from what is new.
LIVE = """
INSERT INTO read_models
SELECT 'sales_by_hour', 1, CASE WHEN max(position) = 0 THEN 1 ELSE 0 END, NULL, NULL, 1 FROM partitions
"""


def upgrade() -> None:
    op.execute("SET ROLE order_projector")
    op.execute(TABLE)
    op.execute(FIRST)
    op.execute(
        "GRANT SELECT ON read_models.sales_by_hour, read_models.sales_by_hour_1 TO order_web"
    )
    op.execute("RESET ROLE")
    op.execute(LIVE)
    op.execute(CHECKPOINTS)


def downgrade() -> None:
    op.execute("SET ROLE order_projector")
    op.execute("DROP TABLE read_models.sales_by_hour")
    op.execute("RESET ROLE")
    for table in ("dead_letters", "skips", "rebuilds", "checkpoints", "read_models"):
        op.execute(text(f"DELETE FROM {table} WHERE name = 'sales_by_hour'"))
