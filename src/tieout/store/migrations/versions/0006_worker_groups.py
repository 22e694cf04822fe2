"""Lanes that only the workers of a group run, and which groups a worker serves."""

import sqlalchemy as sa
from alembic import op

from tieout.store.tables import TEXT

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Both columns are filled by their defaults: an earlier release that goes on beside this one runs every lane. Its
    claim reads the whole index of ready lanes meanwhile, which is right, and slower than it was."""
    op.add_column("lanes", sa.Column("worker_group", TEXT, nullable=False, server_default=""))
    op.add_column("workers", sa.Column("serves", TEXT, nullable=False, server_default="*"))
    ready = sa.text("state = 'ready'")
    op.drop_index("lanes_ready", "lanes")
    op.create_index(
        "lanes_ready", "lanes", ["worker_group", "due_at"], sqlite_where=ready, postgresql_where=ready
    )
