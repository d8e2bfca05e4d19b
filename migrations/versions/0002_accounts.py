"""Accounts: users and their refresh tokens, kept by the web role."""

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
        email_key     text NOT NULL UNIQUE,  -- normalised and case-folded: who writes Ann@ and ann@ is one person
        password_hash text NOT NULL,
        role          text NOT NULL CHECK (role IN ('customer', 'staff', 'admin')),
        created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    # A login begins a family; every refresh uses up one token and adds the next one, until the family expires. A family
    # counts as revoked as soon as one of its rows is: a token that a racing refresh adds meanwhile is dead as well.
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
    # The web refuses to serve a database whose migrations are not its own.
    "GRANT SELECT ON alembic_version TO order_web",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("REVOKE SELECT ON alembic_version FROM order_web")
    op.execute("DROP TABLE refresh_tokens, users")
