"""What came in: accepted once per (connection, event id), then applied, superseded, ignored or parked. Never lost."""

from tieout.store.statements import Statement

ACCEPT = Statement(
    "inbox.accept",
    """INSERT INTO inbox (id, connection, event_id, type, lane_id, occurred_at, received_at, state, detail, body)
       VALUES (:id, :connection, :event_id, :type, :lane_id, :occurred_at, :received_at, :state, :detail, :body)
       ON CONFLICT (connection, event_id) DO NOTHING""",
)
# The hint reaches the lane only if this very acceptance inserted the event: a duplicate changes nothing. `state || ''`
# keeps the planner off the index of pending rows, which on a new database looks cheaper than the key, and is not.
HINT = Statement(
    "inbox.hint",
    """INSERT INTO lanes (lane_id, connection, kind, subject_id, state, due_at, last_seq, hints, content)
       SELECT :lane_id, :connection, :kind, :subject_id, 'ready', :now, seq, 1, :content FROM inbox
       WHERE connection = :event_connection AND event_id = :event_id AND id = :id AND state || '' = 'pending'
       ON CONFLICT (lane_id) DO UPDATE SET hints = lanes.hints + 1,
         last_seq = CASE WHEN excluded.last_seq > lanes.last_seq THEN excluded.last_seq ELSE lanes.last_seq END,
         content = CASE WHEN excluded.last_seq > lanes.last_seq THEN excluded.content ELSE lanes.content END,
         due_at = CASE WHEN lanes.state = 'idle' THEN excluded.due_at ELSE lanes.due_at END,
         state = CASE WHEN lanes.state = 'idle' THEN 'ready' ELSE lanes.state END""",
)
# A sweep that shows the lane what it already knows (content hash) is an echo: recorded, not run.
ECHO = Statement(
    "inbox.echo",
    """UPDATE inbox SET state = 'ignored', detail = :rule WHERE connection = :event_connection AND event_id = :event_id
       AND id = :id AND state || '' = 'pending'
       AND EXISTS (SELECT 1 FROM lanes WHERE lane_id = :lane_id AND content = :content AND content <> '')""",
)
SUPERSEDE = Statement(
    "inbox.supersede",
    """UPDATE inbox SET state = 'superseded', detail = :run_id, run_id = :run_id
       WHERE lane_id = :lane_id AND state = 'pending' AND seq < :seq""",
)
SETTLE = Statement(
    "inbox.settle",
    """UPDATE inbox SET state = :state, detail = :detail, run_id = :run_id
       WHERE lane_id = :lane_id AND state = 'pending' AND seq = :seq""",
)
# A run after a parked one settles what was parked with it: no event stays parked on a lane that went on.
UNPARK = Statement(
    "inbox.unpark",
    """UPDATE inbox SET state = :state, detail = :detail, run_id = :run_id
       WHERE lane_id = :lane_id AND state = 'parked' AND seq <= :seq""",
)
COUNTS = Statement(
    "inbox.counts", "SELECT connection, state, COUNT(*) FROM inbox GROUP BY connection, state", returns=True
)
LATEST = Statement(
    "inbox.latest",
    """SELECT seq, id, connection, event_id, type, lane_id, occurred_at, received_at, state, detail, run_id FROM inbox
       ORDER BY seq DESC LIMIT :limit""",
    returns=True,
)
OF_LANE = Statement(
    "inbox.of_lane",
    """SELECT seq, id, connection, event_id, type, lane_id, occurred_at, received_at, state, detail, run_id FROM inbox
       WHERE lane_id = :lane_id ORDER BY seq""",
    returns=True,
)
# What is an echo of our own write, or ignored by a rule, told nothing.
TOLD_AT = Statement(
    "inbox.told_at",
    "SELECT MAX(occurred_at) FROM inbox WHERE lane_id = :lane_id AND state <> 'ignored'",
    returns=True,
)
KNOWN = Statement(
    "inbox.known",
    "SELECT state FROM inbox WHERE connection = :connection AND event_id = :event_id",
    returns=True,
)
