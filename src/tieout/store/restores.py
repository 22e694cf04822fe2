"""What a database that was put back from a backup has forgotten: since when, and how far it has listed again."""

from tieout.store.statements import Statement

BEGIN = Statement(
    "restores.begin",
    "INSERT INTO restores (restored_at, backup_taken_at, actor) VALUES (:now, :backup_taken_at, :actor)",
    rows=1,
)
# A restore that had not ended when the backup was taken, or when this one came over it: this one says it all again.
END_OTHERS = Statement(
    "restores.end_others",
    "UPDATE restores SET ended_at = :now WHERE ended_at IS NULL AND restored_at < :now",
)
PRESENT = Statement(
    "restores.present",
    """SELECT restored_at, backup_taken_at, listed_seq FROM restores WHERE ended_at IS NULL
       ORDER BY restored_at DESC LIMIT 1""",
    returns=True,
)
LATEST = Statement("restores.latest", "SELECT COALESCE(MAX(restored_at), 0) FROM restores", returns=True)
# The moments of the newest rows that only ever grow.
NEWEST = Statement(
    "restores.newest",
    """SELECT COALESCE((SELECT MAX(received_at) FROM inbox WHERE seq = (SELECT MAX(seq) FROM inbox)), 0),
       COALESCE((SELECT MAX(at) FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)), 0)""",
    returns=True,
)

# What was in doubt may have been settled, and sent again, by the hub whose memory is lost.
DOUBT_AGAIN = Statement(
    "restores.doubt_again",
    """UPDATE effects SET state = 'UNKNOWN', absent_from = :now, looks = 0, error = :error
       WHERE state IN ('SENT', 'UNKNOWN')""",
)
# What was set may have been set otherwise since: the next run of each lane sets it once more.
ASSIGNS_UNSURE = Statement("restores.assigns_unsure", "UPDATE assigns SET fields_hash = '', verify_at = NULL")
FEEDS_UNLISTED = Statement("restores.feeds_unlisted", "UPDATE feeds SET listed_at = NULL, worker_id = ''")

FEED_LISTED = Statement(
    "restores.feed_listed",
    "UPDATE feeds SET listed_at = :began WHERE connection = :connection AND worker_id = :worker",
)
LISTED = Statement("restores.listed", "SELECT connection, COALESCE(listed_at, 0) FROM feeds", returns=True)
ALL_LISTED = Statement(
    "restores.all_listed",
    """UPDATE restores SET listed_seq = (SELECT COALESCE(MAX(seq), 0) FROM inbox)
       WHERE restored_at = :restored_at AND listed_seq IS NULL""",
)
FIRST_EVENT = Statement(
    "restores.first_event", "SELECT MIN(seq) FROM inbox WHERE lane_id = :lane_id", returns=True
)
# Lanes that may still make what was made before: those with an event that was listed, and those that no event began.
OLD_WORK = Statement(
    "restores.old_work",
    """SELECT lanes.lane_id, lanes.state FROM lanes WHERE lanes.state IN ('ready', 'leased', 'waiting', 'parked')
       AND COALESCE((SELECT MIN(seq) FROM inbox WHERE inbox.lane_id = lanes.lane_id), 0) <= :listed_seq
       ORDER BY lanes.lane_id LIMIT 20""",
    returns=True,
)
END = Statement(
    "restores.end",
    "UPDATE restores SET ended_at = :now WHERE restored_at = :restored_at AND ended_at IS NULL",
    rows=1,
)
