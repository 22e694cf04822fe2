"""Needs, waiters and holds: what a run waits for, without blocking anything in memory."""

from tieout.store.statements import Statement

# Locks the need's row (or makes it), so that waiter and binder see each other.
NEED = Statement(
    "needs.touch",
    "INSERT INTO needs (need_key) VALUES (:need_key) ON CONFLICT (need_key) DO UPDATE SET value = needs.value",
)
MEET = Statement(
    "needs.meet",
    """INSERT INTO needs (need_key, met_at, value) VALUES (:need_key, :now, :value)
       ON CONFLICT (need_key) DO UPDATE SET met_at = excluded.met_at, value = excluded.value""",
)
MET = Statement(
    "needs.met", "SELECT value FROM needs WHERE need_key = :need_key AND met_at IS NOT NULL", returns=True
)
WAIT = Statement(
    "waiters.add",
    """INSERT INTO waiters (lane_id, need_key, on_lane, what, since, deadline_at)
       VALUES (:lane_id, :need_key, :on_lane, :what, :now, :deadline_at)
       ON CONFLICT (lane_id, need_key) DO NOTHING""",
)
FORGET = Statement("waiters.forget", "DELETE FROM waiters WHERE lane_id = :lane_id")
# What a lane goes on waiting for keeps its deadline; `keys` is a JSON list.
KEEP = Statement(
    "waiters.keep",
    """DELETE FROM waiters WHERE lane_id = :lane_id AND need_key NOT IN (SELECT value FROM json_each(:keys))""",
    postgres="""DELETE FROM waiters WHERE lane_id = :lane_id
       AND need_key NOT IN (SELECT jsonb_array_elements_text(CAST(:keys AS JSONB)))""",
)
# Who waits for something outside to come into being is not woken by anybody of ours: it looks again from time to time.
LOOK_AGAIN = Statement(
    "waiters.look_again",
    """UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'waiting' AND due_at <= :before
       AND lane_id IN (SELECT lane_id FROM waiters WHERE need_key >= 'exists|' AND need_key < 'exists}')
       RETURNING lane_id""",
    returns=True,
)
# `state || ''`: by the key of the few that wait for this, never by the index of all that wait for anything.
# Wake every lane that waited for this; if it waits for something else too, its run says so again. One that was parked
# for having waited too long keeps what it waits for, and goes on as well; who was parked for its crashes (whose count
# every wait sets back) does not.
WAKE = Statement(
    "waiters.wake",
    """UPDATE lanes SET state = 'ready', due_at = :now WHERE state || '' IN ('waiting', 'parked') AND crashes = 0
       AND lane_id IN (SELECT lane_id FROM waiters WHERE need_key = :need_key)""",
)
SWEEP = Statement(
    "waiters.sweep",
    """UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'waiting' AND NOT EXISTS (
       SELECT 1 FROM waiters JOIN needs ON needs.need_key = waiters.need_key
       WHERE waiters.lane_id = lanes.lane_id AND needs.met_at IS NULL) RETURNING lane_id""",
    returns=True,
)
OVERDUE = Statement(
    "waiters.overdue",
    """SELECT waiters.lane_id, waiters.need_key, waiters.what, waiters.since FROM waiters JOIN lanes ON
       lanes.lane_id = waiters.lane_id
       WHERE waiters.deadline_at <= :now AND lanes.state = 'waiting' ORDER BY waiters.deadline_at LIMIT :limit""",
    returns=True,
)
OF_LANE = Statement(
    "waiters.of_lane",
    "SELECT need_key, on_lane, what, since, deadline_at FROM waiters WHERE lane_id = :lane_id",
    returns=True,
)
# Who waits for whom, as far as it is known which lane will end the wait.
BEHIND = Statement(
    "waiters.behind",
    """SELECT waiters.lane_id, waiters.on_lane FROM waiters JOIN lanes ON lanes.lane_id = waiters.lane_id
       WHERE lanes.state = 'waiting' AND waiters.on_lane <> ''""",
    returns=True,
)
# Would waiting on that lane close a circle? Walks from the lane waited on, along who waits for whom now: a lane that
# was woken keeps its rows until its run ends, and waits for nobody.
CYCLE = Statement(
    "waiters.cycle",
    """WITH RECURSIVE chain (lane_id) AS (
         SELECT on_lane FROM waiters WHERE lane_id = :lane_id AND on_lane <> ''
         UNION SELECT waiters.on_lane FROM waiters JOIN chain ON waiters.lane_id = chain.lane_id
         JOIN lanes ON lanes.lane_id = waiters.lane_id AND lanes.state = 'waiting' WHERE waiters.on_lane <> '')
       SELECT 1 FROM chain WHERE lane_id = :lane_id LIMIT 1""",
    returns=True,
    rows=0,
)
PARK_WAITING = Statement(
    "lanes.park_waiting",
    "UPDATE lanes SET state = 'parked', replay = '' WHERE lane_id = :lane_id AND state = 'waiting'",
    rows=1,
)

# A lane that holds it already (its worker died) takes it again: the lane itself has one runner.
HOLD = Statement(
    "holds.take",
    """INSERT INTO holds (resource, lane_id, since) VALUES (:resource, :lane_id, :now)
       ON CONFLICT (resource) DO UPDATE SET since = excluded.since WHERE holds.lane_id = excluded.lane_id""",
    rows=1,
)
HOLDER = Statement("holds.holder", "SELECT lane_id FROM holds WHERE resource = :resource", returns=True)
HELD_NEED = Statement(
    "holds.need",
    """INSERT INTO needs (need_key, met_at) VALUES (:need_key, NULL)
       ON CONFLICT (need_key) DO UPDATE SET met_at = NULL""",
)
# The hold was freed between the refusal and this commit: then nothing is waited for.
HOLD_STILL_TAKEN = Statement(
    "holds.recheck",
    """UPDATE needs SET met_at = :now WHERE need_key = :need_key
       AND NOT EXISTS (SELECT 1 FROM holds WHERE resource = :resource)""",
)
# Upserts, so that a waiter that is just writing its need meets this row and looks again.
FREED = Statement(
    "holds.freed",
    """INSERT INTO needs (need_key, met_at) SELECT 'hold|' || resource, :now FROM holds WHERE lane_id = :lane_id
       ON CONFLICT (need_key) DO UPDATE SET met_at = excluded.met_at""",
    postgres="""INSERT INTO needs (need_key, met_at) SELECT 'hold|' || resource, CAST(:now AS BIGINT) FROM
       holds WHERE lane_id = :lane_id
       ON CONFLICT (need_key) DO UPDATE SET met_at = excluded.met_at""",
)
FREE_WAKE = Statement(
    "holds.wake",
    """UPDATE lanes SET state = 'ready', due_at = :now WHERE state || '' = 'waiting' AND lane_id IN (SELECT
       waiters.lane_id FROM waiters
       JOIN holds ON waiters.need_key = 'hold|' || holds.resource WHERE holds.lane_id = :lane_id)""",
)
FREE = Statement("holds.free", "DELETE FROM holds WHERE lane_id = :lane_id")
# Holds of lanes that nobody runs any more: say that they are free before they are deleted.
DEAD_FREED = Statement(
    "holds.dead_freed",
    """INSERT INTO needs (need_key, met_at) SELECT 'hold|' || resource, :now FROM holds
       WHERE lane_id NOT IN (SELECT lane_id FROM lanes WHERE state = 'leased')
       ON CONFLICT (need_key) DO UPDATE SET met_at = excluded.met_at""",
    postgres="""INSERT INTO needs (need_key, met_at) SELECT 'hold|' || resource, CAST(:now AS BIGINT) FROM holds
       WHERE lane_id NOT IN (SELECT lane_id FROM lanes WHERE state = 'leased')
       ON CONFLICT (need_key) DO UPDATE SET met_at = excluded.met_at""",
)
# Between `DEAD_FREED` and `FREE_DEAD`: wake whoever waited for them.
DEAD_WAKE = Statement(
    "holds.dead_wake",
    """UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'waiting' AND lane_id IN (
       SELECT waiters.lane_id FROM holds JOIN waiters ON waiters.need_key = 'hold|' || holds.resource
       WHERE holds.lane_id NOT IN (SELECT lane_id FROM lanes WHERE state = 'leased'))""",
)
FREE_DEAD = Statement(
    "holds.free_dead",
    """DELETE FROM holds WHERE lane_id NOT IN (SELECT lane_id FROM lanes WHERE state = 'leased')""",
)

# Which needs of one producer are unmet: `sync_account` learns here where its customer is wanted.
UNMET = Statement(
    "needs.unmet",
    "SELECT need_key FROM needs WHERE need_key >= :low AND need_key < :high AND met_at IS NULL ORDER BY need_key",
    returns=True,
)
