"""Read models: the tables, the live generation of each, and the state of unfinished rebuilds."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The state of the loop that writes read models. The read models are in a separate schema, below.
STATE = """
-- One row a projection: the generation that queries read, the version of the projection's code that built it, and the
-- generation that a rollback would restore.
CREATE TABLE read_models (
    name                text PRIMARY KEY,
    live_generation     integer NOT NULL,
    projection_version  integer NOT NULL,
    previous_generation integer,
    previous_version    integer,
    last_generation     integer NOT NULL  -- the highest number ever used: none is used twice
);

-- A stream with an event that a projection could not apply. The row refers to the event, so a retry reads it through
-- the current upcasters. last_version: the version that the stream's rows show.
CREATE TABLE dead_letters (
    name         text NOT NULL,
    generation   integer NOT NULL,
    partition    smallint NOT NULL REFERENCES partitions,
    stream_id    uuid NOT NULL,
    version      integer NOT NULL,
    position     bigint NOT NULL,
    last_version integer NOT NULL,
    error        text NOT NULL,
    parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, generation, partition, stream_id)
);

-- An event that a projection skips, in every generation.
CREATE TABLE skips (
    name       text NOT NULL,
    partition  smallint NOT NULL REFERENCES partitions,
    stream_id  uuid NOT NULL,
    version    integer NOT NULL,
    reason     text NOT NULL,
    skipped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, partition, stream_id, version)
);

-- A generation that is being built. Its marks are its progress: streams up to after_stream are in the table as the log
-- held them at up_to, a position fixed at the start.
CREATE TABLE rebuilds (
    name               text PRIMARY KEY REFERENCES read_models,
    generation         integer NOT NULL,
    projection_version integer NOT NULL,
    started_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE rebuild_marks (
    name         text NOT NULL REFERENCES rebuilds ON DELETE CASCADE,
    partition    smallint NOT NULL REFERENCES partitions,
    up_to        bigint NOT NULL,
    after_stream uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    events       bigint NOT NULL DEFAULT 0,
    finished     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (name, partition)
);
"""

# Each generation is a child table. The projector owns the tables: a replay makes, attaches and drops generations.
READ_MODELS = """
CREATE TABLE read_models.order_view (
    generation         integer NOT NULL,
    partition          smallint NOT NULL,
    order_id           uuid NOT NULL,
    user_id            uuid NOT NULL,
    status             text NOT NULL,
    payment_status     text NOT NULL,
    fulfillment_status text NOT NULL,
    currency           text NOT NULL,
    total_minor        bigint NOT NULL,
    version            integer NOT NULL,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    document           bytea NOT NULL,
    PRIMARY KEY (generation, partition, order_id)
) PARTITION BY LIST (generation);
-- For a user's list, newest first (read backwards). The few orders with one time, a batch of appends, are sorted when
-- they are read: with the order's id the index would be a third larger.
CREATE INDEX order_view_of_user ON read_models.order_view (user_id, created_at);

CREATE TABLE read_models.customer_summary (
    generation    integer NOT NULL,
    user_id       uuid NOT NULL,
    currency      text NOT NULL,
    partition     smallint NOT NULL,
    orders        bigint NOT NULL,
    spent_minor   numeric NOT NULL, -- a sum of amounts, which may exceed bigint
    last_order_at timestamptz NOT NULL,
    last_order_id uuid NOT NULL,
    PRIMARY KEY (generation, user_id, currency, partition)
) PARTITION BY LIST (generation);

CREATE TABLE read_models.sales_by_day (
    generation    integer NOT NULL,
    day           date NOT NULL,
    currency      text NOT NULL,
    status        text NOT NULL,
    partition     smallint NOT NULL,
    orders        bigint NOT NULL,
    revenue_minor numeric NOT NULL, -- a sum of amounts, which may exceed bigint
    units         bigint NOT NULL,
    PRIMARY KEY (generation, day, currency, status, partition)
) PARTITION BY LIST (generation);
"""

RIGHTS = """
GRANT SELECT ON read_models, dead_letters, skips, rebuilds, rebuild_marks TO order_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON read_models, dead_letters, skips, rebuilds, rebuild_marks TO order_projector;
"""

# By name: the fill factor. Updates of the aggregates change no index, so they stay on their page if it has room;
# updates of order_view always change an index.
PROJECTIONS = {"order_view": 100, "customer_summary": 80, "sales_by_day": 80}


def upgrade() -> None:
    for statement in _statements(STATE + RIGHTS):
        op.execute(statement)
    op.execute("CREATE SCHEMA read_models AUTHORIZATION order_projector")
    op.execute("SET ROLE order_projector")
    for statement in _statements(READ_MODELS):
        op.execute(statement)
    for name, fillfactor in PROJECTIONS.items():
        op.execute(
            f"CREATE TABLE read_models.{name}_1 PARTITION OF read_models.{name} FOR VALUES IN (1) "
            f"WITH (fillfactor = {fillfactor}, autovacuum_vacuum_scale_factor = 0.05)"
        )
    op.execute("GRANT USAGE ON SCHEMA read_models TO order_web")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA read_models TO order_web")
    op.execute("RESET ROLE")
    for name in PROJECTIONS:
        op.execute(f"INSERT INTO read_models VALUES ('{name}', 1, 1, NULL, NULL, 1)")
        op.execute(
            "INSERT INTO checkpoints (name, generation, partition) "
            f"SELECT '{name}', 1, partition FROM partitions"
        )


def downgrade() -> None:
    op.execute("SET ROLE order_projector")
    op.execute("DROP SCHEMA read_models CASCADE")
    op.execute("RESET ROLE")
    op.execute("DELETE FROM checkpoints WHERE name IN (SELECT name FROM read_models)")
    op.execute("DROP TABLE rebuild_marks, rebuilds, skips, dead_letters, read_models")


def _statements(script: str) -> list[str]:
    """The script's statements: asyncpg can only prepare one statement at a time."""
    return [statement for statement in script.split(";\n") if statement.strip()]
