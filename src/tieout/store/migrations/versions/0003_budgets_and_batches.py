"""Budgets shared by workers, batches of effects that left together, replays as linked attempts."""

import sqlalchemy as sa
from alembic import op

from tieout.store.tables import TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of the budgets, the batches and of links between stories; each effect's batch, each lane's replay."""
    op.create_table(
        "budgets",
        sa.Column("connection", TEXT, primary_key=True, nullable=False),
        sa.Column("allowed", sa.BigInteger(), nullable=False),
        sa.Column("shrunk_at", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "permits",
        sa.Column("connection", TEXT, primary_key=True, nullable=False),
        sa.Column("worker_id", TEXT, primary_key=True, nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "batches",
        sa.Column("batch_id", TEXT, primary_key=True, nullable=False),
        sa.Column("connection", TEXT, nullable=False),
        sa.Column("operation", TEXT, nullable=False),
        sa.Column("members", TEXT, nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "links",
        sa.Column("on_lane", TEXT, primary_key=True, nullable=False),
        sa.Column("lane_id", TEXT, primary_key=True, nullable=False),
    )
    settled = sa.text("action IN ('effect.absent', 'effect.rejected')")
    op.create_index("audit_settled", "audit", ["subject"], sqlite_where=settled, postgresql_where=settled)
    op.add_column("effects", sa.Column("batch", TEXT, nullable=False, server_default=""))
    op.add_column("effects", sa.Column("accepted", TEXT, nullable=False, server_default=""))
    op.add_column("lanes", sa.Column("replay", TEXT, nullable=False, server_default=""))
