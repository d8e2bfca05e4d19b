"""Accounts: users and their refresh tokens, which the web role writes."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE users (
        id            uuid PRIMARY KEY,
        email         text NOT NULL,
        email_key     text NOT NULL UNIQUE,  -- normalised and case-folded: Ann@ and ann@ are one user
        password_hash text NOT NULL,
        role          text NOT NULL CHECK (role IN ('customer', 'staff', 'admin')),
        created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    # A login starts a family; every refresh uses one token and adds the next one, until the family expires. A family is
    # revoked as soon as one of its rows is, so a token that a concurrent refresh adds is revoked as well.
    """
    CREATE TABLE refresh_tokens (
        token_sha256 bytea PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
        family       uuid NOT NULL,
        user_id      uuid NOT NULL REFERENCES users,
        issued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at   timestamptz NOT NULL,
        used_at      timestamptz,
        revoked_at   timestamptz
    )
    """,
    "CREATE INDEX refresh_tokens_family ON refresh_tokens (family)",
    "CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id, expires_at)",
    "GRANT SELECT, INSERT, UPDATE (password_hash) ON users TO order_web",
    "GRANT SELECT, INSERT, UPDATE (used_at, revoked_at), DELETE ON refresh_tokens TO order_web",
    # The web role serves only a database whose revision is its own.
    "GRANT SELECT ON alembic_version TO order_web",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("REVOKE SELECT ON alembic_version FROM order_web")
    op.execute("DROP TABLE refresh_tokens, users")
