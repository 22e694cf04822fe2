"""What the outside is told: written in the commit of what it tells of, then on its way to each receiver."""

from tieout.store.statements import Statement

_COLUMNS = "INSERT INTO outbox (event_id, type, subject, key, at, state, data)"
_VALUES = ":event_id, :type, :subject, :key, CAST(:at AS BIGINT), 'new', :data"
_ONCE = "ON CONFLICT (event_id) DO NOTHING"
ANNOUNCE = Statement("outbox.announce", f"{_COLUMNS} VALUES ({_VALUES}) {_ONCE}")
# Each tells of a change that the same unit makes, and only where it makes it: the row before (or after) it shows that.
# So what is seen or run a second time is not told a second time, however long ago the first row was deleted.
ANNOUNCE_BOUND = Statement(
    "outbox.announce_bound",
    f"""{_COLUMNS} SELECT {_VALUES}
        WHERE NOT EXISTS (SELECT 1 FROM documents WHERE effect_key = :effect_key) {_ONCE}""",
)
ANNOUNCE_POSTED = Statement(
    "outbox.announce_posted",
    f"""{_COLUMNS} SELECT {_VALUES}
        WHERE EXISTS (SELECT 1 FROM documents WHERE effect_key = :effect_key AND status <> 'POSTED') {_ONCE}""",
)
ANNOUNCE_OPENED = Statement(
    "outbox.announce_opened",
    f"""{_COLUMNS} SELECT {_VALUES}
        WHERE EXISTS (SELECT 1 FROM exceptions WHERE exception_id = :exception_id) {_ONCE}""",
)

# -- on its way -----------------------------------------------------------------------------------------------------
NEW = Statement(
    "outbox.new",
    "SELECT seq, type, key FROM outbox WHERE state = 'new' ORDER BY seq LIMIT :limit",
    returns=True,
)
# Of two processes that hand the same event on one is refused.
HANDED_ON = Statement(
    "outbox.handed_on", "UPDATE outbox SET state = 'out' WHERE seq = :seq AND state = 'new'", rows=1
)
QUEUE = Statement(
    "deliveries.queue",
    """INSERT INTO deliveries (seq, receiver, key, state, due_at, queued_at)
       VALUES (:seq, :receiver, :key, 'pending', :now, :now)
       ON CONFLICT (seq, receiver) DO UPDATE SET state = 'pending', attempts = 0, due_at = excluded.due_at,
       queued_at = excluded.queued_at, done_at = NULL, error = ''""",
)
EVENT_COLUMNS = "outbox.seq, outbox.event_id, outbox.type, outbox.subject, outbox.key, outbox.at, outbox.data"
# The first of each key that is still to be delivered, when its time has come; nothing to a receiver that is off. OFFSET
# keeps PostgreSQL from making a join of the question for an earlier one: planned while the tables were small, that
# compares all that waits with all that waits.
DUE = Statement(
    "deliveries.due",
    f"""SELECT {EVENT_COLUMNS}, deliveries.attempts, deliveries.queued_at FROM deliveries
        JOIN outbox ON outbox.seq = deliveries.seq
        WHERE deliveries.receiver = :receiver AND deliveries.state = 'pending' AND deliveries.due_at <= :now
        AND NOT EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.receiver = deliveries.receiver
          AND earlier.key = deliveries.key AND earlier.seq < deliveries.seq AND earlier.state = 'pending'
          LIMIT 1 OFFSET 0)
        AND NOT EXISTS (SELECT 1 FROM receivers WHERE receivers.receiver = deliveries.receiver)
        ORDER BY deliveries.due_at, deliveries.seq LIMIT :limit""",
    returns=True,
)
DELIVERED = Statement(
    "deliveries.delivered",
    """UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, done_at = :now, error = ''
       WHERE seq = :seq AND receiver = :receiver AND state <> 'delivered'""",
)
# `attempt` is how many there were before: somebody else's verdict in the meantime stands.
FAILED = Statement(
    "deliveries.failed",
    """UPDATE deliveries SET attempts = attempts + 1, due_at = :due_at, error = :error
       WHERE seq = :seq AND receiver = :receiver AND state = 'pending' AND attempts = :attempt""",
)
DEAD = Statement(
    "deliveries.dead",
    """UPDATE deliveries SET state = 'dead', attempts = attempts + 1, done_at = :now, error = :error
       WHERE seq = :seq AND receiver = :receiver AND state = 'pending' AND attempts = :attempt""",
    rows=1,
)
# What a receiver that is off, down or no longer configured was never tried with for so long.
OVERDUE = Statement(
    "deliveries.overdue",
    """UPDATE deliveries SET state = 'dead', done_at = :now, error = CASE WHEN error = '' THEN :error ELSE error END
       WHERE state = 'pending' AND queued_at < :before RETURNING receiver""",
    returns=True,
)
# A receiver that answers again: what was put off for its silence is due.
BACK = Statement(
    "deliveries.back",
    "UPDATE deliveries SET due_at = :now WHERE receiver = :receiver AND state = 'pending' AND due_at > :now",
)
SWITCH_OFF = Statement(
    "receivers.off",
    """INSERT INTO receivers (receiver, reason, off_at) VALUES (:receiver, :reason, :now)
       ON CONFLICT (receiver) DO NOTHING""",
    rows=1,
)
SWITCH_ON = Statement("receivers.on", "DELETE FROM receivers WHERE receiver = :receiver")
OFF = Statement("receivers.list", "SELECT receiver, reason, off_at FROM receivers", returns=True)

# -- after a restore: the numbers go on above all that the forgotten time can have told under, and what waits in the
# backup has all its time before it. SQLite knows of the numbers of a table only once it held a row.
NUMBERED = Statement(
    "outbox.numbered",
    """INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox', 0
       WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'outbox')""",
    postgres="SELECT 1",
)
NUMBERS_ABOVE = Statement(
    "outbox.numbers_above",
    "UPDATE sqlite_sequence SET seq = MAX(seq, :number) WHERE name = 'outbox'",
    postgres="""SELECT setval(pg_get_serial_sequence('outbox', 'seq'),
       GREATEST(CAST(:number AS BIGINT), nextval(pg_get_serial_sequence('outbox', 'seq'))))""",
)
WAIT_ANEW = Statement(
    "deliveries.wait_anew",
    "UPDATE deliveries SET attempts = 0, due_at = :now, queued_at = :now WHERE state = 'pending'",
)

# -- looked at, done again, forgotten --------------------------------------------------------------------------------
COUNTS = Statement(
    "deliveries.counts",
    "SELECT receiver, state, COUNT(*), MIN(queued_at) FROM deliveries GROUP BY receiver, state",
    returns=True,
)
WAITING = Statement(
    "deliveries.waiting",
    "SELECT receiver, MIN(queued_at) FROM deliveries WHERE state = 'pending' GROUP BY receiver",
    returns=True,
)
LIST = Statement(
    "deliveries.list",
    f"""SELECT {EVENT_COLUMNS}, deliveries.receiver, deliveries.state, deliveries.attempts, deliveries.due_at,
        deliveries.done_at, deliveries.error FROM deliveries JOIN outbox ON outbox.seq = deliveries.seq
        WHERE (:receiver = '' OR deliveries.receiver = :receiver) AND (:state = '' OR deliveries.state = :state)
        ORDER BY deliveries.seq DESC, deliveries.receiver LIMIT :limit""",
    returns=True,
)
# What may be sent again: a page of the events of a stretch of time, with how each stands with the receiver.
_AGAIN = "outbox.seq, outbox.type, outbox.key, COALESCE(deliveries.state, '')"
_STRETCH = (
    """outbox.at >= :since AND outbox.at < :until AND (:event_id = '' OR outbox.event_id = :event_id)"""
)
AGAIN = Statement(
    "outbox.again",
    f"""SELECT {_AGAIN} FROM outbox
        LEFT JOIN deliveries ON deliveries.seq = outbox.seq AND deliveries.receiver = :receiver
        WHERE outbox.seq > :after AND outbox.state = 'out' AND {_STRETCH} ORDER BY outbox.seq LIMIT :limit""",
    returns=True,
)
DEAD_LETTERS = Statement(
    "outbox.dead_letters",
    f"""SELECT {_AGAIN} FROM deliveries JOIN outbox ON outbox.seq = deliveries.seq
        WHERE deliveries.receiver = :receiver AND deliveries.state = 'dead' AND deliveries.seq > :after AND {_STRETCH}
        ORDER BY deliveries.seq LIMIT :limit""",
    returns=True,
)
OLDEST = Statement(
    "outbox.oldest",
    """SELECT outbox.seq, outbox.at, CASE WHEN outbox.state = 'new' OR EXISTS (SELECT 1 FROM deliveries
         WHERE deliveries.seq = outbox.seq AND deliveries.state = 'pending') THEN 1 ELSE 0 END
       FROM outbox WHERE outbox.seq > :after ORDER BY outbox.seq LIMIT :limit""",
    returns=True,
)
FORGET_DELIVERIES = Statement("deliveries.forget", "DELETE FROM deliveries WHERE seq = :seq")
FORGET = Statement("outbox.forget", "DELETE FROM outbox WHERE seq = :seq")
