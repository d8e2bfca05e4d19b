"""Orders of guests, and orders found by a contact's e-mail address or telephone number."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Concurrently: an index of all texts would make every order with an address wait.
INDEX = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS order_texts_of_contact ON order_texts "
    "(body, recorded_at) WHERE kind = 'contact_digest'"
)


def upgrade() -> None:
    op.execute("SET ROLE order_projector")
    # A version of the service that expects a user cannot read a guest's events either.
    op.execute(
        "-- squawk-ignore ban-drop-not-null\n"
        "ALTER TABLE read_models.order_view ALTER COLUMN user_id DROP NOT NULL"
    )
    op.execute("RESET ROLE")
    with op.get_context().autocommit_block():
        op.execute(INDEX)


def downgrade() -> None:
    op.execute("DROP INDEX order_texts_of_contact")
    op.execute("SET ROLE order_projector")
    op.execute("DELETE FROM read_models.order_view WHERE user_id IS NULL")
    op.execute("ALTER TABLE read_models.order_view ALTER COLUMN user_id SET NOT NULL")
    op.execute("RESET ROLE")
