"""Indexes by lane and trace: a document's and an event's lane, a lane's deal."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What `trace` and a re-run of a document look up."""
    op.create_index("documents_lane", "documents", ["lane_id"])
    op.create_index("inbox_lane", "inbox", ["lane_id"])
    op.create_index("lanes_trace", "lanes", ["trace"])
