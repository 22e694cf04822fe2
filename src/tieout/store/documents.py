"""Documents made outside, and whether they stand in the ledger there; the crosswalk of ids."""

from tieout.store.statements import Statement

CREATED = Statement(
    "documents.created",
    """INSERT INTO documents (effect_key, connection, kind, external_id, number, status, entity, currency, total_minor,
       tax_minor, day, period, source, source_number, reason, lane_id, trace, created_at)
       VALUES (:effect_key, :connection, :kind, :external_id, :number, 'CREATED', :entity, :currency, :total_minor,
       :tax_minor, :day, :period, :source, :source_number, :reason, :lane_id, :trace, :now)
       ON CONFLICT (effect_key) DO NOTHING""",
)
VERIFIED = Statement(
    "documents.verified",
    """UPDATE documents SET status = CASE WHEN CAST(:posted AS BIGINT) = 1 THEN 'POSTED' ELSE status END,
       number = :number, period = :period,
       verified_at = :now, differences = :differences WHERE effect_key = :effect_key""",
    rows=1,
)
# Before a cause is tested again: what was read back with a difference is read back anew.
UNVERIFY = Statement(
    "documents.unverify",
    """UPDATE documents SET verified_at = NULL, differences = '',
       status = CASE WHEN status IN ('POST_REJECTED', 'WITHDRAWN') THEN 'CREATED' ELSE status END
       WHERE lane_id = :lane_id
       AND (differences NOT IN ('', 'accepted') OR status IN ('POST_REJECTED', 'WITHDRAWN'))""",
)
ACCEPT_DIFFERENCE = Statement(
    "documents.accept_difference",
    "UPDATE documents SET differences = 'accepted' WHERE effect_key = :effect_key",
    rows=1,
)
STATUS = Statement(
    "documents.status",
    "UPDATE documents SET status = :status WHERE effect_key = :effect_key AND status <> :status",
)
# Some ERPs number a document when it is posted, not when it is made.
NUMBERED = Statement(
    "documents.numbered", "UPDATE documents SET number = :number WHERE effect_key = :effect_key", rows=1
)
COLUMNS = (
    "effect_key, connection, kind, external_id, number, status, entity, currency, total_minor, tax_minor, day, period, "
    "source, source_number, reason, lane_id, trace, verified_at, differences"
)
OF_LANE = Statement(
    "documents.of_lane", f"SELECT {COLUMNS} FROM documents WHERE lane_id = :lane_id", returns=True
)
OF_SOURCE = Statement(
    "documents.of_source",
    f"SELECT {COLUMNS} FROM documents WHERE source = :source ORDER BY created_at",
    returns=True,
)
UNPOSTED = Statement(
    "documents.unposted",
    f"""SELECT {COLUMNS}, created_at FROM documents WHERE status = 'CREATED' AND verified_at IS NOT NULL
       AND (created_at, effect_key) > (:created_at, :effect_key) ORDER BY created_at, effect_key LIMIT :limit""",
    returns=True,
)
ALL = Statement("documents.all", f"SELECT {COLUMNS} FROM documents ORDER BY created_at", returns=True)

BIND = Statement(
    "crosswalk.bind",
    """INSERT INTO crosswalk (kind, canonical_id, connection, external_id, valid_from) VALUES (:kind, :canonical_id,
       :connection, :external_id, :now) ON CONFLICT (kind, canonical_id, connection, external_id) DO NOTHING""",
)
# Their id to ours, and ours to theirs: only bindings in force.
RESOLVE = Statement(
    "crosswalk.resolve",
    """SELECT canonical_id FROM crosswalk WHERE connection = :connection AND kind = :kind AND external_id = :external_id
       AND valid_to IS NULL""",
    returns=True,
)
