"""Look-ups behind `tieout trace` and the dry run: cold queries over all families of tables, by exact keys."""

from tieout.store.statements import Statement

_MATCH = "lane_id, trace"
LANE = Statement(
    "stories.lane",
    """SELECT lane_id, connection, kind, subject_id, fence, last_seq, hints, attempts, generation, frozen,
       trace, replay, state, due_at, blocker FROM lanes WHERE lane_id = :lane_id""",
    returns=True,
)
LANES_OF_TRACE = Statement(
    "stories.lanes_of_trace", "SELECT lane_id FROM lanes WHERE trace = :trace", returns=True
)
# Traces of effects, and lanes by the ids that an effect carries.
EFFECTS_BY_EXTERNAL = Statement(
    "stories.effects_by_external",
    f"SELECT DISTINCT {_MATCH} FROM effects WHERE external_id = :term",
    returns=True,
)
EFFECTS_BY_KEY = Statement(
    "stories.effects_by_key",
    f"SELECT {_MATCH} FROM effects WHERE effect_key = :term",
    returns=True,
)
EFFECTS_BY_DOCUMENT_KEY = Statement(
    "stories.effects_by_document_key",
    f"SELECT {_MATCH} FROM effects WHERE document_key = :term",
    returns=True,
)
EFFECTS_BY_SOURCE = Statement(
    "stories.effects_by_source",
    f"SELECT DISTINCT {_MATCH} FROM effects WHERE source = :term",
    returns=True,
)
EFFECT_LANES_OF_TRACE = Statement(
    "stories.effect_lanes_of_trace", "SELECT DISTINCT lane_id FROM effects WHERE trace = :trace", returns=True
)
# A document that belongs to several stories: a payment over invoices of several deals.
LINK = Statement(
    "stories.link",
    "INSERT INTO links (on_lane, lane_id) VALUES (:on_lane, :lane_id) ON CONFLICT (on_lane, lane_id) DO NOTHING",
)
LINKED_TO = Statement("stories.linked_to", "SELECT lane_id FROM links WHERE on_lane = :on_lane", returns=True)
# Each by its own index: one OR over three columns would read the whole table.
DOCUMENTS_BY_NUMBER = Statement(
    "stories.documents_by_number",
    "SELECT effect_key, lane_id, trace, connection, kind, external_id, number FROM documents WHERE number = :term",
    returns=True,
)
DOCUMENTS_BY_SOURCE_NUMBER = Statement(
    "stories.documents_by_source_number",
    """SELECT effect_key, lane_id, trace, connection, kind, external_id, number FROM documents
       WHERE source_number = :term""",
    returns=True,
)
DOCUMENTS_BY_EXTERNAL = Statement(
    "stories.documents_by_external",
    """SELECT effect_key, lane_id, trace, connection, kind, external_id, number FROM documents
       WHERE external_id = :term""",
    returns=True,
)
EVENT = Statement(
    "stories.event",
    """SELECT lane_id FROM inbox WHERE connection = :connection AND event_id >= :low AND event_id <= :high
       AND lane_id <> ''""",
    returns=True,
)
RUN = Statement("stories.run", "SELECT lane_id FROM runs WHERE run_id = :term", returns=True)
EFFECTS_OF_LANE = Statement(
    "stories.effects_of_lane",
    """SELECT effect_key, document_key, connection, operation, source, state, epoch, attempt, planned_at, first_sent_at,
       sent_at, confirmed_at, external_id, receipt, resolved_by, error, decisions FROM effects WHERE lane_id = :lane_id
       ORDER BY planned_at""",
    returns=True,
)
DOCUMENT = Statement(
    "stories.document",
    """SELECT connection, kind, external_id, number, status, entity, currency, total_minor, tax_minor, day, period,
       source, source_number, reason, verified_at, differences, created_at FROM documents
       WHERE effect_key = :effect_key""",
    returns=True,
)
ASSIGNS_OF_LANE = Statement(
    "stories.assigns_of_lane",
    """SELECT assign_key, connection, kind, target_id, field_group, revision, state, planned_at, confirmed_at,
       attempt, fields FROM assigns WHERE lane_id = :lane_id ORDER BY planned_at""",
    returns=True,
)
EXCEPTIONS_OF_LANE = Statement(
    "stories.exceptions_of_lane",
    """SELECT exception_id, code, document, number, entity, currency, amount_minor, cause, remedy, state, opened_at,
       resolved_at, resolution, blocker FROM exceptions WHERE lane_id = :lane_id ORDER BY opened_at""",
    returns=True,
)
EXCEPTIONS_OF_BLOCKER = Statement(
    "stories.exceptions_of_blocker",
    """SELECT exception_id, code, document, number, entity, currency, amount_minor, cause, remedy, state, opened_at,
       resolved_at, resolution, blocker FROM exceptions WHERE blocker = :blocker AND state <> 'resolved'""",
    returns=True,
)
APPROVALS_OF = Statement(
    "stories.approvals_of",
    """SELECT approval_id, action, summary, maker, checker, state, asked_at, decided_at, reason FROM approvals
       WHERE exception_id = :exception_id ORDER BY asked_at""",
    returns=True,
)
AUDIT_OF = Statement(
    "stories.audit_of",
    "SELECT at, actor, action, subject, detail FROM audit WHERE trace = :trace ORDER BY seq",
    returns=True,
)
# For the status page: what is due, and what is only due later.
READY = Statement(
    "stories.ready",
    """SELECT SUM(CASE WHEN due_at <= :now THEN 1 ELSE 0 END), COUNT(*), MIN(due_at) FROM lanes
       WHERE state = 'ready'""",
    returns=True,
)
OPEN_EXCEPTIONS = Statement(
    "stories.open_exceptions", "SELECT COUNT(*) FROM exceptions WHERE state <> 'resolved'", returns=True
)
DOUBTFUL = Statement(
    "stories.doubtful", "SELECT COUNT(*) FROM effects WHERE state IN ('SENT', 'UNKNOWN')", returns=True
)
WAITING_COMMANDS = Statement(
    "stories.waiting_commands", "SELECT COUNT(*) FROM commands WHERE state = 'waiting'", returns=True
)
