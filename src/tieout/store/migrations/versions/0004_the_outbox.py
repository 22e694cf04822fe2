"""The outbox: what the outside is told, and how far it is on its way to each receiver."""

import sqlalchemy as sa
from alembic import op

from tieout.store.tables import SEQUENCE, TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of announcements, of their deliveries and of receivers that want no more."""
    op.create_table(
        "outbox",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.UniqueConstraint("event_id", name="outbox_once"),
        sqlite_autoincrement=True,
    )
    _partial("outbox_new", "outbox", "state = 'new'", "seq")
    op.create_table(
        "deliveries",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("receiver", TEXT, primary_key=True, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("error", TEXT, nullable=False, server_default=""),
    )
    _partial("deliveries_due", "deliveries", "state = 'pending'", "receiver", "due_at", "seq")
    _partial("deliveries_order", "deliveries", "state = 'pending'", "receiver", "key", "seq")
    _partial("deliveries_dead", "deliveries", "state = 'dead'", "receiver", "seq")
    op.create_table(
        "receivers",
        sa.Column("receiver", TEXT, primary_key=True, nullable=False),
        sa.Column("reason", TEXT, nullable=False, server_default=""),
        sa.Column("off_at", sa.BigInteger(), nullable=False),
    )


def _partial(name: str, table: str, where: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), sqlite_where=sa.text(where), postgresql_where=sa.text(where))
