"""Operators' requests to the read side and their outcomes; progress of replays; attempts on parked streams."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The web role inserts requests and a worker executes them, since web may not write read models. Rows are kept forever:
# they record which user did what, and why.
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

# One row a read model: its last replay, from the web or the command line. A replay runs as long as the session `pid`
# holds the lock that excludes other replays of it: without that lock it was killed, whatever its row's state.
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
