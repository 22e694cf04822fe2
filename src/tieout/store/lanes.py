"""Lanes: one row per document that messages are about; who runs it, under which fence, and when it is due."""

from tieout.store.statements import Statement

_CLAIMED = "lane_id, connection, kind, subject_id, fence, last_seq, hints, attempts, generation, frozen, trace, replay"
CLAIM = Statement(
    "lanes.claim",
    f"""UPDATE lanes SET state = 'leased', worker_id = :worker, fence = fence + 1
        WHERE lane_id IN (SELECT lane_id FROM lanes WHERE state = 'ready' AND worker_group = :group AND due_at <= :now
        AND crashes < 2 ORDER BY due_at LIMIT :limit)
        RETURNING {_CLAIMED}""",
    returns=True,
    postgres=f"""UPDATE lanes SET state = 'leased', worker_id = :worker, fence = fence + 1
        WHERE lane_id = ANY (ARRAY(SELECT lane_id FROM lanes WHERE state = 'ready' AND worker_group = :group
        AND due_at <= :now AND crashes < 2 ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED))
        RETURNING {_CLAIMED}""",
)
# What two workers in a row have died over is claimed one at a time: the third death shows which it was. One death is no
# suspicion yet: all that was in hand then would have to stand in line.
CLAIM_SUSPECT = Statement(
    "lanes.claim_suspect",
    f"""UPDATE lanes SET state = 'leased', worker_id = :worker, fence = fence + 1
        WHERE lane_id IN (SELECT lane_id FROM lanes WHERE state = 'ready' AND crashes > 1 AND crashes < :most
        AND worker_group = :group ORDER BY crashes, lane_id LIMIT 1)
        RETURNING {_CLAIMED}""",
    returns=True,
    postgres=f"""UPDATE lanes SET state = 'leased', worker_id = :worker, fence = fence + 1
        WHERE lane_id = ANY (ARRAY(SELECT lane_id FROM lanes WHERE state = 'ready' AND crashes > 1 AND crashes < :most
        AND worker_group = :group ORDER BY crashes, lane_id LIMIT 1 FOR UPDATE SKIP LOCKED)) RETURNING {_CLAIMED}""",
)
SUSPECTS = Statement(
    "lanes.suspects",
    "SELECT 1 FROM lanes WHERE state = 'ready' AND crashes > 1 AND crashes < :most LIMIT 1",
    returns=True,
)
# Who has crashed too many workers in a row.
CRASHED = Statement(
    "lanes.crashed",
    """SELECT lane_id, connection, kind, subject_id, fence, crashes, trace FROM lanes
       WHERE state = 'ready' AND crashes > 0 AND crashes >= :most ORDER BY lane_id LIMIT 20""",
    returns=True,
)
# What the dead run had committed last, of effects and of fields.
LAST_STEP = Statement(
    "lanes.last_step",
    """SELECT what, state, moment FROM (
         SELECT operation || ' at ' || connection AS what, state,
         CASE WHEN state = 'CONFIRMED' THEN confirmed_at ELSE COALESCE(sent_at, planned_at) END AS moment
         FROM effects WHERE lane_id = :lane_id
         UNION ALL SELECT field_group || ' of ' || kind || ' ' || target_id || ' at ' || connection, state,
         CASE WHEN state = 'CONFIRMED' THEN confirmed_at ELSE planned_at END
         FROM assigns WHERE lane_id = :lane_id) AS steps
       ORDER BY moment DESC LIMIT 1""",
    returns=True,
)
PARK_CRASHED = Statement(
    "lanes.park_crashed",
    """UPDATE lanes SET state = 'parked', blocker = '', attempts = 0
       WHERE lane_id = :lane_id AND state = 'ready' AND fence = :fence""",
    rows=1,
)
# The guard of every commit of a run: this worker still holds this lane under this fence, and its lease lives.
GUARD = Statement(
    "lanes.guard",
    """SELECT 1 FROM lanes JOIN workers ON workers.worker_id = lanes.worker_id
       WHERE lanes.lane_id = :lane_id AND lanes.worker_id = :worker AND lanes.fence = :fence
       AND lanes.state = 'leased' AND workers.lease_until > :real_now""",
    returns=True,
    rows=1,
    postgres="""SELECT 1 FROM lanes JOIN workers ON workers.worker_id = lanes.worker_id
       WHERE lanes.lane_id = :lane_id AND lanes.worker_id = :worker AND lanes.fence = :fence
       AND lanes.state = 'leased' AND workers.lease_until > :real_now FOR NO KEY UPDATE OF lanes""",
)
FINISH = Statement(
    "lanes.finish",
    """UPDATE lanes SET state = CASE WHEN hints > :hints THEN 'ready' ELSE 'idle' END, due_at = :now, attempts = 0,
       crashes = 0, worker_id = '', run_id = :run_id, blocker = '', trace = :trace,
       replay = CASE WHEN replay = :replay THEN '' ELSE replay END WHERE lane_id = :lane_id AND fence = :fence""",
    rows=1,
)
# Back to the line, not before `due_at`: a hint that comes meanwhile is read by that same run.
AGAIN = Statement(
    "lanes.again",
    """UPDATE lanes SET state = 'ready', due_at = :due_at, attempts = :attempts, crashes = 0, worker_id = '',
       run_id = :run_id, trace = :trace WHERE lane_id = :lane_id AND fence = :fence""",
    rows=1,
)
# A replay that was asked for meanwhile (`:replay` is the mark that this run was claimed with) runs next.
PARK = Statement(
    "lanes.park",
    """UPDATE lanes SET state = CASE WHEN replay = :replay THEN 'parked' ELSE 'ready' END, worker_id = '',
       run_id = :run_id, blocker = :blocker, attempts = 0, crashes = 0, trace = :trace,
       replay = CASE WHEN replay = :replay THEN '' ELSE replay END WHERE lane_id = :lane_id AND fence = :fence""",
    rows=1,
)
# Waiting: granted at once when the need was met meanwhile; the need's row is locked by the statement before.
WAIT = Statement(
    "lanes.wait",
    """UPDATE lanes SET state = CASE WHEN EXISTS (SELECT 1 FROM waiters JOIN needs ON needs.need_key = waiters.need_key
         WHERE waiters.lane_id = :lane_id AND needs.met_at IS NULL) THEN 'waiting' ELSE 'ready' END,
       due_at = :now, attempts = 0, crashes = 0, worker_id = '', run_id = :run_id, trace = :trace
       WHERE lane_id = :lane_id AND fence = :fence""",
    rows=1,
)
FREEZE = Statement(
    "lanes.freeze", "UPDATE lanes SET frozen = :frozen WHERE lane_id = :lane_id AND frozen = ''"
)
START = Statement(
    "lanes.start",
    """INSERT INTO lanes (lane_id, connection, kind, subject_id, state, due_at, hints)
       VALUES (:lane_id, :connection, :kind, :subject_id, 'ready', :now, 1)
       ON CONFLICT (lane_id) DO UPDATE SET hints = lanes.hints + 1,
         due_at = CASE WHEN lanes.state = 'idle' THEN excluded.due_at ELSE lanes.due_at END,
         state = CASE WHEN lanes.state = 'idle' THEN 'ready' ELSE lanes.state END""",
)
RELEASE = Statement(
    "lanes.release",
    """UPDATE lanes SET state = 'ready', due_at = :now, blocker = '', attempts = 0,
       crashes = CASE WHEN crashes > 0 THEN 1 ELSE 0 END
       WHERE lane_id = :lane_id AND state IN ('parked', 'idle', 'waiting', 'ready')""",
)
# Marks the coming runs as somebody's replay, until one of them ends.
REPLAY = Statement("lanes.replay", "UPDATE lanes SET replay = :replay WHERE lane_id = :lane_id", rows=1)
REPOST = Statement(
    "lanes.repost",
    "UPDATE lanes SET generation = generation + 1, frozen = '', replay = '' WHERE lane_id = :lane_id",
    rows=1,
)
BLOCKED_BY = Statement(
    "lanes.blocked_by",
    "SELECT lane_id FROM lanes WHERE blocker = :blocker AND state = 'parked' ORDER BY due_at LIMIT :limit",
    returns=True,
)
RELEASE_BLOCKED = Statement(
    "lanes.release_blocked",
    """UPDATE lanes SET state = 'ready', due_at = :now, blocker = '', attempts = 0
       WHERE blocker = :blocker AND state = 'parked'""",
)
LEASED_BY = Statement(
    "lanes.leased_by",
    "SELECT lane_id, fence, attempts, trace FROM lanes WHERE state = 'leased' AND worker_id = :worker",
    returns=True,
)
BLOCKED_COUNT = Statement(
    "lanes.blocked_count",
    "SELECT COUNT(*) FROM lanes WHERE blocker = :blocker AND state = 'parked'",
    returns=True,
)
BY_ID = Statement(
    "lanes.by_id",
    """SELECT lane_id, connection, kind, subject_id, state, due_at, attempts, blocker, trace, run_id, frozen FROM lanes
       WHERE lane_id = :lane_id""",
    returns=True,
)
STATES = Statement("lanes.states", "SELECT state, COUNT(*) FROM lanes GROUP BY state", returns=True)
NEXT_DUE = Statement(
    "lanes.next_due",
    "SELECT MIN(due_at) FROM lanes WHERE state = 'ready' AND worker_group = :group AND crashes < 2",
    returns=True,
)
# Only the workers of this group run the lane from now on; "": those that name none.
PIN = Statement(
    "lanes.pin",
    "UPDATE lanes SET worker_group = :group WHERE lane_id = :lane_id AND worker_group <> :group",
)
# Each group that has ready lanes, and when the first of them is due: a step in the index from one group to the next.
GROUPS_DUE = Statement(
    "lanes.groups_due",
    """WITH RECURSIVE found (name) AS (SELECT MIN(worker_group) FROM lanes WHERE state = 'ready'
         UNION ALL SELECT (SELECT MIN(worker_group) FROM lanes WHERE state = 'ready' AND worker_group > found.name)
         FROM found WHERE found.name IS NOT NULL)
       SELECT name, (SELECT MIN(due_at) FROM lanes WHERE state = 'ready' AND worker_group = found.name)
       FROM found WHERE name IS NOT NULL""",
    returns=True,
)
# Lanes of workers whose lease ran out: free again, under the next fence, and one of them may be why.
REAP = Statement(
    "lanes.reap",
    """UPDATE lanes SET state = 'ready', worker_id = '', fence = fence + 1, due_at = :now, crashes = crashes + 1
       WHERE state = 'leased' AND (worker_id IN (SELECT worker_id FROM workers WHERE lease_until <= :real_now)
       OR worker_id NOT IN (SELECT worker_id FROM workers))""",
)

# The moment (real microseconds) by the one clock that all processes share; SQLite has none of its own.
CLOCK = Statement(
    "workers.clock",
    "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
    returns=True,
    postgres="SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
)

# Whether the dead have left anything: to look costs less than to write nothing.
LEFT_BEHIND = Statement(
    "lanes.left_behind",
    """SELECT 1 WHERE EXISTS (SELECT 1 FROM lanes WHERE state = 'leased' AND worker_id NOT IN (
         SELECT worker_id FROM workers WHERE lease_until > :real_now))
       OR EXISTS (SELECT 1 FROM holds WHERE lane_id NOT IN (SELECT lane_id FROM lanes WHERE state = 'leased'))
       OR EXISTS (SELECT 1 FROM permits WHERE worker_id NOT IN (
         SELECT worker_id FROM workers WHERE lease_until > :real_now))
       OR EXISTS (SELECT 1 FROM workers WHERE lease_until <= :long_ago)""",
    returns=True,
)

JOIN = Statement(
    "workers.join",
    """INSERT INTO workers (worker_id, started_at, lease_until, host, pid) VALUES (:worker, :now, :until,
       :host, :pid)""",
    rows=1,
)
# Which groups' lanes it runs, as a JSON list; "*", where it was never said: every lane's.
SERVE = Statement("workers.serve", "UPDATE workers SET serves = :serves WHERE worker_id = :worker", rows=1)
# Renewal never revives a lease that has run out: the lanes may be somebody else's by now.
RENEW = Statement(
    "workers.renew",
    "UPDATE workers SET lease_until = :until WHERE worker_id = :worker AND lease_until > :real_now",
    rows=1,
)
# The one process on a database file knows that whoever was there before it is gone.
OTHERS_ARE_GONE = Statement(
    "workers.others_are_gone",
    "UPDATE workers SET lease_until = :real_now WHERE worker_id <> :worker AND lease_until > :real_now",
)
# A worker that ends in order hands its lanes back: nothing of them is suspicious.
HAND_BACK = Statement(
    "lanes.hand_back",
    """UPDATE lanes SET state = 'ready', worker_id = '', fence = fence + 1, due_at = :now
       WHERE state = 'leased' AND worker_id = :worker""",
)
LEAVE = Statement("workers.leave", "DELETE FROM workers WHERE worker_id = :worker")
FORGET_DEAD = Statement(
    "workers.forget_dead",
    """DELETE FROM workers WHERE lease_until <= :long_ago
       AND worker_id NOT IN (SELECT worker_id FROM lanes WHERE state = 'leased')""",
)
ALIVE = Statement(
    "workers.alive",
    "SELECT worker_id, host, pid, lease_until, serves FROM workers WHERE lease_until > :real_now",
    returns=True,
)

RUN_BEGIN = Statement(
    "runs.begin",
    """INSERT INTO runs (run_id, lane_id, process, attempt, started_at, ended_at, outcome, detail, actor, trace)
       VALUES (:run_id, :lane_id, :process, :attempt, :started_at, :ended_at, :outcome, :detail, :actor, :trace)
       ON CONFLICT (run_id) DO NOTHING""",
)
RUNS_OF_LANE = Statement(
    "runs.of_lane",
    """SELECT run_id, process, attempt, started_at, ended_at, outcome, detail, actor FROM runs WHERE lane_id = :lane_id
       ORDER BY started_at""",
    returns=True,
)
