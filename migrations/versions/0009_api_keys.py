"""API keys, which the web role writes."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Two secrets hold during a rotation. A key is revoked, never deleted: events name it.
    """
    CREATE TABLE api_keys (
        id              uuid PRIMARY KEY,
        name            text NOT NULL,
        scopes          text[] NOT NULL,
        rate_limit      text,
        acts_for        uuid REFERENCES users,
        created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by      uuid,
        expires_at      timestamptz,
        secret_sha256   bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
        previous_sha256 bytea CHECK (octet_length(previous_sha256) = 32),
        previous_until  timestamptz,
        rotated_at      timestamptz,
        revoked_at      timestamptz,
        last_used_at    timestamptz,
        CHECK ((previous_sha256 IS NULL) = (previous_until IS NULL))
    ) WITH (fillfactor = 80)
    """,
    "GRANT SELECT, INSERT, UPDATE (name, scopes, rate_limit, expires_at, secret_sha256, "
    "previous_sha256, previous_until, rotated_at, revoked_at, last_used_at) ON api_keys TO order_web",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE api_keys")
