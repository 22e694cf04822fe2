"""What the hub accepted or learnt (orders, customers, swept copies), feeds' cursors, pins, wrapped keys."""

from tieout.store.statements import Statement


def box_of(kind: str, key: str) -> str:
    """What the sealed body of a record is bound to."""
    return f"records|{kind}|{key}"


SAVE = Statement(
    "records.save",
    """INSERT INTO records (kind, key, body, updated_at, trace) VALUES (:kind, :key, :body, :now, :trace)
       ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at""",
    rows=1,
)
# Only what was not there: what is kept so never changes.
KEEP = Statement(
    "records.keep",
    """INSERT INTO records (kind, key, body, updated_at, trace) VALUES (:kind, :key, :body, :now, :trace)
       ON CONFLICT (kind, key) DO NOTHING""",
    rows=1,
)
FORGET = Statement("records.forget", "DELETE FROM records WHERE kind = :kind AND key = :key")
LOAD = Statement(
    "records.load",
    "SELECT body, updated_at, trace FROM records WHERE kind = :kind AND key = :key",
    returns=True,
)
ALL = Statement(
    "records.all",
    "SELECT key, body, updated_at, trace FROM records WHERE kind = :kind ORDER BY key",
    returns=True,
)

FEED = Statement(
    "feeds.load",
    "SELECT cursor, worker_id, fence, revision FROM feeds WHERE connection = :connection",
    returns=True,
)
# Whether a living worker owns the feed.
FEED_OWNED = Statement(
    "feeds.owned",
    """SELECT 1 FROM feeds JOIN workers ON workers.worker_id = feeds.worker_id
       WHERE feeds.connection = :connection AND workers.lease_until > :real_now""",
    returns=True,
)
# One owner by fenced lease: taken over only from a worker whose lease has run out.
FEED_OWN = Statement(
    "feeds.own",
    """INSERT INTO feeds (connection, worker_id, fence) VALUES (:connection, :worker, 1)
       ON CONFLICT (connection) DO UPDATE SET worker_id = excluded.worker_id, fence = feeds.fence + 1
       WHERE feeds.worker_id = '' OR feeds.worker_id NOT IN (SELECT worker_id FROM workers WHERE lease_until >
       :real_now)""",
)
# The cursor moves by compare-and-set, in the transaction that stores the events it brought.
FEED_MOVE = Statement(
    "feeds.move",
    """UPDATE feeds SET cursor = :cursor, revision = revision + 1, polled_at = :now
       WHERE connection = :connection AND worker_id = :worker AND revision = :revision""",
    rows=1,
)

PIN = Statement(
    "pins.set",
    """INSERT INTO pins (connection, identity, pinned_at) VALUES (:connection, :identity, :now) ON CONFLICT
       (connection) DO NOTHING""",
)
PINNED = Statement("pins.get", "SELECT identity FROM pins WHERE connection = :connection", returns=True)

KEY_LOAD = Statement("keys.load", "SELECT wrapped FROM keys WHERE name = :name", returns=True)
KEY_SAVE = Statement(
    "keys.save",
    "INSERT INTO keys (name, wrapped, made_at) VALUES (:name, :wrapped, :now) ON CONFLICT (name) DO NOTHING",
)
COUNT = Statement(
    "counters.add",
    """INSERT INTO counters (name, value) VALUES (:name, :value)
       ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value""",
)
