"""What operators ask of the read side and what became of it, how replays go, how often parked streams were tried."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Web asks, a worker does it: web may not write what read models are made of. Kept for good: who did what, and why.
REQUESTS = """
CREATE TABLE operator_requests (
    request_id   uuid PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('rebuild', 'rollback', 'retry', 'skip')),
    projection   text NOT NULL REFERENCES read_models,
    stream_id    uuid,
    reason       text,
    actor        uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at   timestamptz,
    finished_at  timestamptz,
    outcome      text,
    detail       text
);
CREATE INDEX operator_requests_waiting ON operator_requests (requested_at) WHERE claimed_at IS NULL;
CREATE INDEX operator_requests_of ON operator_requests (projection, kind, requested_at)
"""

# One row a read model: its last replay, from the terminal too. It goes on for as long as the session `pid` holds the
# lock that keeps replays apart; so one that was killed is known by that, whatever its row says.
REPLAYS = """
CREATE TABLE replays (
    name        text PRIMARY KEY REFERENCES read_models,
    pid         integer NOT NULL,
    state       text NOT NULL CHECK (state IN ('building', 'comparing', 'done', 'failed')),
    total       bigint NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    message     text
)
"""

RIGHTS = """
GRANT SELECT ON operator_requests, replays TO order_web;
GRANT INSERT (request_id, kind, projection, stream_id, reason, actor) ON operator_requests TO order_web;
GRANT SELECT ON operator_requests TO order_projector;
GRANT UPDATE (claimed_at, finished_at, outcome, detail) ON operator_requests TO order_projector;
GRANT SELECT, INSERT, UPDATE ON replays TO order_projector
"""


def upgrade() -> None:
    for script in (REQUESTS, REPLAYS, RIGHTS):
        for statement in script.split(";\n"):
            op.execute(statement)
    op.execute("ALTER TABLE dead_letters ADD COLUMN attempts integer NOT NULL DEFAULT 1")


def downgrade() -> None:
    op.execute("ALTER TABLE dead_letters DROP COLUMN attempts")
    op.execute("DROP TABLE replays, operator_requests")
