"""The effect ledger: every outside write under its deterministic key, from PLANNED to CONFIRMED or to a person."""

from tieout.store.statements import Statement

COLUMNS = (
    "effect_key, document_key, lane_id, process, connection, operation, source, state, epoch, attempt, looks, request, "
    "request_hash, decisions, first_sent_at, sent_at, absent_from, worker_id, fence, external_id, receipt, "
    "resolved_by, error, trace, accepted"
)
OF_LANE = Statement(
    "effects.of_lane", f"SELECT {COLUMNS} FROM effects WHERE lane_id = :lane_id", returns=True
)
BY_KEY = Statement(
    "effects.by_key", f"SELECT {COLUMNS} FROM effects WHERE effect_key = :effect_key", returns=True
)
BY_DOCUMENT_KEY = Statement(
    "effects.by_document_key",
    f"SELECT {COLUMNS} FROM effects WHERE document_key = :document_key",
    returns=True,
)
# First time: planned and sent in one commit, before the bytes leave.
SEND_NEW = Statement(
    "effects.send_new",
    """INSERT INTO effects (effect_key, document_key, lane_id, process, connection, operation, source, state, epoch,
       attempt, request, request_hash, decisions, planned_at, first_sent_at, sent_at, worker_id, fence, run_id, trace)
       VALUES (:effect_key, :document_key, :lane_id, :process, :connection, :operation, :source, 'SENT', 0, 1, :request,
       :request_hash, :decisions, :now, :now, :now, :worker, :fence, :run_id, :trace)
       ON CONFLICT (effect_key) DO NOTHING""",
    rows=1,
)
SEND_AGAIN = Statement(
    "effects.send_again",
    """UPDATE effects SET state = 'SENT', epoch = :epoch, attempt = attempt + 1, looks = 0, request = :request,
       request_hash = :request_hash, decisions = :decisions, sent_at = :now, absent_from = NULL,
       first_sent_at = CASE WHEN epoch = :epoch THEN COALESCE(first_sent_at, :now) ELSE :now END, worker_id = :worker,
       fence = :fence, run_id = :run_id, error = ''
       WHERE effect_key = :effect_key AND state = :was AND attempt = :attempt""",
    rows=1,
)
# Begun in doubt: a hub whose memory is older than the outside may have made it, or may have been about to.
DOUBT_FIRST = Statement(
    "effects.doubt_first",
    """INSERT INTO effects (effect_key, document_key, lane_id, process, connection, operation, source, state, epoch,
       attempt, request, request_hash, decisions, planned_at, sent_at, absent_from, worker_id, fence, error, run_id,
       trace)
       VALUES (:effect_key, :document_key, :lane_id, :process, :connection, :operation, :source, 'UNKNOWN', :epoch, 0,
       :request, :request_hash, :decisions, :now, :now, :absent_from, :worker, :fence, :error, :run_id, :trace)
       ON CONFLICT (effect_key) DO UPDATE SET state = 'UNKNOWN', looks = 0, request = excluded.request,
       request_hash = excluded.request_hash, decisions = excluded.decisions, sent_at = excluded.sent_at,
       absent_from = excluded.absent_from, error = excluded.error, run_id = excluded.run_id
       WHERE effects.state IN ('PLANNED', 'REJECTED')""",
    rows=1,
)
CONFIRM = Statement(
    "effects.confirm",
    """UPDATE effects SET state = 'CONFIRMED', external_id = :external_id, receipt = :receipt, confirmed_at = :now,
       resolved_by = :resolved_by, error = '' WHERE effect_key = :effect_key AND state IN ('SENT', 'UNKNOWN')""",
    rows=1,
)
ACCEPTED = Statement(
    "effects.accepted", "UPDATE effects SET accepted = :accepted WHERE effect_key = :effect_key", rows=1
)
# What left together in one call, frozen before the bytes leave. The same members again are the same batch.
BATCH = Statement(
    "batches.freeze",
    """INSERT INTO batches (batch_id, connection, operation, members, sent_at)
       VALUES (:batch, :connection, :operation, :members, :now)
       ON CONFLICT (batch_id) DO UPDATE SET sent_at = excluded.sent_at""",
)
BATCHED = Statement(
    "effects.batched",
    "UPDATE effects SET batch = :batch WHERE effect_key IN (SELECT value FROM json_each(:keys))",
    postgres="""UPDATE effects SET batch = :batch
       WHERE effect_key IN (SELECT jsonb_array_elements_text(CAST(:keys AS JSONB)))""",
)
# Evidence may arrive while the call itself is still out: whoever comes second finds it confirmed with the same id.
CONFIRM_BY_EVIDENCE = Statement(
    "effects.confirm_by_evidence",
    """UPDATE effects SET state = 'CONFIRMED', external_id = :external_id, receipt = :receipt, confirmed_at = :now,
       resolved_by = 'evidence', error = '' WHERE document_key = :document_key AND connection = :connection
       AND state = 'UNKNOWN'""",
    rows=1,
)
UNKNOWN = Statement(
    "effects.unknown",
    """UPDATE effects SET state = 'UNKNOWN', error = :error, absent_from = :absent_from, looks = :looks
       WHERE effect_key = :effect_key AND state IN ('SENT', 'UNKNOWN')""",
    rows=1,
)
NOT_DONE = Statement(
    "effects.not_done",
    """UPDATE effects SET state = :state, error = :error WHERE effect_key = :effect_key AND state IN ('SENT',
       'UNKNOWN')""",
    rows=1,
)
# What stands under a later send epoch than its first: it was proved absent (or refused) and sent again.
SENT_AGAIN = Statement(
    "effects.sent_again",
    f"""SELECT {COLUMNS} FROM effects WHERE state = 'CONFIRMED' AND epoch > 0 AND confirmed_at > :since
       AND effect_key > :after ORDER BY effect_key LIMIT :limit""",
    returns=True,
)
IN_DOUBT = Statement(
    "effects.in_doubt",
    """SELECT effect_key, connection, operation, state, sent_at, error FROM effects WHERE state IN ('SENT',
       'UNKNOWN') ORDER BY sent_at LIMIT :limit""",
    returns=True,
)
RESOLVED_COUNTS = Statement(
    "effects.resolved_counts",
    "SELECT resolved_by, COUNT(*) FROM effects WHERE resolved_by <> '' GROUP BY resolved_by",
    returns=True,
)
# What was asked of the ledger, for the books: the frozen request beside the period that the read-back showed.
RECORDED = Statement(
    "effects.recorded",
    """SELECT effects.effect_key, effects.document_key, effects.connection, effects.request, documents.period
       FROM documents
       JOIN effects ON effects.effect_key = documents.effect_key
       WHERE documents.kind IN ('invoice', 'credit_memo', 'payment', 'refund', 'journal')""",
    returns=True,
)

ASSIGN_COLUMNS = "assign_key, revision, state, fields_hash, attempt"
ASSIGNS_OF_LANE = Statement(
    "assigns.of_lane",
    f"SELECT {ASSIGN_COLUMNS} FROM assigns WHERE lane_id = :lane_id",
    returns=True,
)
ASSIGN_BY_KEY = Statement(
    "assigns.by_key",
    f"SELECT {ASSIGN_COLUMNS} FROM assigns WHERE assign_key = :assign_key",
    returns=True,
)
# A newer value supersedes an older unsent one: the revision only grows, and a stale writer changes no row. What was to
# be read back stays so: the older value may still be under way, and arrive after the newer one.
ASSIGN_PLAN = Statement(
    "assigns.plan",
    """INSERT INTO assigns (assign_key, connection, kind, target_id, field_group, revision, state, fields, fields_hash,
       lane_id, run_id, trace, planned_at, attempt)
       VALUES (:assign_key, :connection, :kind, :target_id, :field_group, :revision, 'PLANNED', :fields, :fields_hash,
       :lane_id, :run_id, :trace, :now, 1)
       ON CONFLICT (assign_key) DO UPDATE SET revision = excluded.revision, state = 'PLANNED', fields = excluded.fields,
       fields_hash = excluded.fields_hash, run_id = excluded.run_id, lane_id = excluded.lane_id,
       planned_at = excluded.planned_at, attempt = assigns.attempt + 1
       WHERE assigns.revision < excluded.revision
         OR (assigns.revision = excluded.revision AND assigns.fields_hash = excluded.fields_hash)""",
    rows=1,
)
ASSIGN_DONE = Statement(
    "assigns.done",
    """UPDATE assigns SET state = :state, confirmed_at = :now, verify_at = COALESCE(:verify_at, verify_at)
       WHERE assign_key = :assign_key AND revision = :revision""",
    postgres="""UPDATE assigns SET state = :state, confirmed_at = :now,
       verify_at = COALESCE(CAST(:verify_at AS BIGINT), verify_at)
       WHERE assign_key = :assign_key AND revision = :revision""",
)
ASSIGNS_TO_VERIFY = Statement(
    "assigns.to_verify",
    """SELECT assign_key, connection, kind, target_id, field_group, revision, fields, lane_id, trace FROM assigns
       WHERE verify_at <= :now ORDER BY verify_at LIMIT :limit""",
    returns=True,
)
ASSIGN_VERIFY_AT = Statement(
    "assigns.verify_at",
    "UPDATE assigns SET verify_at = :verify_at WHERE assign_key = :assign_key AND revision = :revision",
)
