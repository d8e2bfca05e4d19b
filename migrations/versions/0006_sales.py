"""sales_by_hour: the read model of counts, sums and times of the orders placed in each hour."""

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
    amount_minor numeric NOT NULL, -- a sum of amounts, which may exceed bigint
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
# No code has version 0: if the log has events already, workers do not write the read model until a replay has built it.
# Otherwise they would read the whole log for it and delay new events of the other read models.
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
