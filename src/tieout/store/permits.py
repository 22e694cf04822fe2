"""Who may call an outside system how often at once: the connection's budget, cut into the slices of living workers."""

from tieout.store.statements import Statement

# Locks the connection's row, so that slices are cut one after the other; `most` is what is configured.
LOCK = Statement(
    "budgets.lock",
    """INSERT INTO budgets (connection, allowed, shrunk_at) VALUES (:connection, :most, 0)
       ON CONFLICT (connection) DO UPDATE SET
       allowed = CASE WHEN budgets.allowed > :most OR budgets.shrunk_at = 0 THEN :most ELSE budgets.allowed END""",
)
# Which are shrunk; all others take what is configured.
SHRUNK = Statement(
    "budgets.shrunk", "SELECT connection, allowed, shrunk_at FROM budgets WHERE shrunk_at > 0", returns=True
)
# A 429 halves what all workers share, once a second of such answers; `before` is a second ago.
SHRINK = Statement(
    "budgets.shrink",
    """UPDATE budgets SET allowed = CASE WHEN allowed > 1 THEN allowed / 2 ELSE 1 END, shrunk_at = :now
       WHERE connection = :connection AND shrunk_at <= :before""",
)
# One more for every `step` since the last refusal or the last one given back.
RECOVER = Statement(
    "budgets.recover",
    """UPDATE budgets SET
       allowed = CASE WHEN allowed + (CAST(:now AS BIGINT) - shrunk_at) / :step >= :most THEN :most
                 ELSE allowed + (CAST(:now AS BIGINT) - shrunk_at) / :step END,
       shrunk_at = CASE WHEN allowed + (CAST(:now AS BIGINT) - shrunk_at) / :step >= :most THEN 0
                   ELSE CAST(:now AS BIGINT) END
       WHERE connection = :connection AND allowed < :most AND shrunk_at <= CAST(:now AS BIGINT) - :step""",
)
SLICES = Statement(
    "permits.all",
    """SELECT permits.connection, permits.worker_id, permits.held FROM permits
       JOIN workers ON workers.worker_id = permits.worker_id WHERE workers.lease_until > :real_now""",
    returns=True,
)
# Never more than the budget together, counting every worker whose lease lives: a dead one's calls end before its lease.
TAKE = Statement(
    "permits.take",
    """INSERT INTO permits (connection, worker_id, held)
       SELECT :connection, :worker, :held FROM budgets WHERE connection = :connection AND allowed >= :held + (
         SELECT COALESCE(SUM(permits.held), 0) FROM permits JOIN workers ON workers.worker_id = permits.worker_id
         WHERE permits.connection = :connection AND permits.worker_id <> :worker AND workers.lease_until > :real_now)
       ON CONFLICT (connection, worker_id) DO UPDATE SET held = excluded.held""",
    rows=1,
    postgres="""INSERT INTO permits (connection, worker_id, held)
       SELECT CAST(:connection AS TEXT), CAST(:worker AS TEXT), CAST(:held AS BIGINT) FROM budgets
       WHERE connection = :connection AND allowed >= :held + (
         SELECT COALESCE(SUM(permits.held), 0) FROM permits JOIN workers ON workers.worker_id = permits.worker_id
         WHERE permits.connection = :connection AND permits.worker_id <> :worker AND workers.lease_until > :real_now)
       ON CONFLICT (connection, worker_id) DO UPDATE SET held = excluded.held""",
)
# What is given back needs no room.
GIVE_BACK = Statement(
    "permits.give_back",
    "UPDATE permits SET held = :held WHERE connection = :connection AND worker_id = :worker AND held >= :held",
)
LEAVE = Statement("permits.leave", "DELETE FROM permits WHERE worker_id = :worker")
FORGET_DEAD = Statement(
    "permits.forget_dead",
    "DELETE FROM permits WHERE worker_id NOT IN (SELECT worker_id FROM workers WHERE lease_until > :real_now)",
)
# Calls that a process which is gone had just sent: the vendor may still be working on them.
LEFT_OUT = Statement(
    "permits.left_out",
    """SELECT connection, operation FROM effects WHERE state = 'SENT' AND worker_id <> :worker
       AND sent_at > :since""",
    returns=True,
)
