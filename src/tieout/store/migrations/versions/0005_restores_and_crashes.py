"""Restores from a backup, and what crashed the worker that had it in hand."""

import sqlalchemy as sa
from alembic import op

from tieout.store.tables import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A row for each restore, how far each feed was listed since; how often each lane crashed its worker."""
    op.create_table(
        "restores",
        sa.Column("restored_at", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("backup_taken_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("listed_seq", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
    )
    op.add_column("feeds", sa.Column("listed_at", sa.BigInteger()))
    op.add_column("lanes", sa.Column("crashes", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    crashed = sa.text("state = 'ready' AND crashes > 0")
    op.create_index("lanes_crashed", "lanes", ["crashes"], sqlite_where=crashed, postgresql_where=crashed)
