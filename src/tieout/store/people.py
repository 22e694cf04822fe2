"""What waits for a person: exceptions, blockers' documents, approvals, commands; and what was done, in the audit."""

from tieout.store.statements import Statement

OPEN = Statement(
    "exceptions.open",
    """INSERT INTO exceptions (exception_id, code, lane_id, blocker, document, number, entity, currency,
       amount_minor, cause,
       remedy, state, owner, effect_key, trace, detail, opened_at)
       SELECT :exception_id, :code, :lane_id, :blocker, :document, :number, :entity, :currency, :amount_minor,
       :cause, :remedy,
       'open', :owner, :effect_key, :trace, :detail, :now
       WHERE NOT EXISTS (SELECT 1 FROM exceptions WHERE code = :code AND lane_id = :lane_id AND blocker = :blocker
         AND effect_key = :effect_key AND state <> 'resolved')""",
    postgres="""INSERT INTO exceptions (exception_id, code, lane_id, blocker, document, number, entity,
       currency, amount_minor, cause,
       remedy, state, owner, effect_key, trace, detail, opened_at)
       SELECT :exception_id, :code, :lane_id, :blocker, :document, :number, :entity, :currency,
       CAST(:amount_minor AS BIGINT), :cause, :remedy,
       'open', :owner, :effect_key, :trace, :detail, CAST(:now AS BIGINT)
       WHERE NOT EXISTS (SELECT 1 FROM exceptions WHERE code = :code AND lane_id = :lane_id AND blocker = :blocker
         AND effect_key = :effect_key AND state <> 'resolved')""",
)
# A connection that is blocked already, and is blocked for another reason from now on.
RETELL = Statement(
    "exceptions.retell",
    """UPDATE exceptions SET cause = :cause, remedy = :remedy
       WHERE code = 'blocked_connection' AND blocker = :blocker AND state <> 'resolved'""",
)
COLUMNS = (
    "exception_id, code, lane_id, blocker, document, number, entity, currency, amount_minor, cause, remedy, state, "
    "owner, "
    "effect_key, trace, detail, opened_at, deferred_until, reason, resolved_at, resolution"
)
LIST = Statement(
    "exceptions.list",
    f"SELECT {COLUMNS} FROM exceptions WHERE state <> 'resolved' ORDER BY opened_at",
    returns=True,
)
LIST_ALL = Statement(
    "exceptions.list_all", f"SELECT {COLUMNS} FROM exceptions ORDER BY opened_at", returns=True
)
BY_ID = Statement(
    "exceptions.by_id", f"SELECT {COLUMNS} FROM exceptions WHERE exception_id = :exception_id", returns=True
)
OF_LANE = Statement(
    "exceptions.of_lane",
    f"SELECT {COLUMNS} FROM exceptions WHERE lane_id = :lane_id AND state <> 'resolved'",
    returns=True,
)
RESOLVE = Statement(
    "exceptions.resolve",
    """UPDATE exceptions SET state = 'resolved', resolved_at = :now, resolution = :resolution
       WHERE exception_id = :exception_id AND state <> 'resolved'""",
    rows=1,
)
# Documents that were parked after the release was listed keep their exception.
RESOLVE_BLOCKER = Statement(
    "exceptions.resolve_blocker",
    """UPDATE exceptions SET state = 'resolved', resolved_at = :now, resolution = :resolution
       WHERE exception_id = :exception_id AND state <> 'resolved' AND NOT EXISTS (
         SELECT 1 FROM lanes WHERE lanes.blocker = exceptions.blocker AND lanes.state = 'parked')""",
)
RESOLVE_LANE = Statement(
    "exceptions.resolve_lane",
    """UPDATE exceptions SET state = 'resolved', resolved_at = :now, resolution = :resolution
       WHERE lane_id = :lane_id AND state <> 'resolved' AND code <> 'duplicate' AND blocker = ''""",
)
DEFER = Statement(
    "exceptions.defer",
    """UPDATE exceptions SET state = 'deferred', deferred_until = :until, reason = :reason, owner = :owner
       WHERE exception_id = :exception_id AND state <> 'resolved'""",
    rows=1,
)
REOPEN_DUE = Statement(
    "exceptions.reopen_due",
    "UPDATE exceptions SET state = 'open', deferred_until = NULL WHERE state = 'deferred' AND deferred_until <= :now",
)

ASK = Statement(
    "approvals.ask",
    """INSERT INTO approvals (approval_id, action, payload, payload_hash, summary, maker, state, exception_id, asked_at)
       VALUES (:approval_id, :action, :payload, :payload_hash, :summary, :maker, 'waiting', :exception_id, :now)""",
    rows=1,
)
APPROVAL_COLUMNS = (
    "approval_id, action, payload, payload_hash, summary, maker, checker, state, exception_id, asked_at, decided_at, "
    "reason"
)
APPROVALS = Statement(
    "approvals.list", f"SELECT {APPROVAL_COLUMNS} FROM approvals ORDER BY asked_at", returns=True
)
APPROVAL = Statement(
    "approvals.by_id",
    f"SELECT {APPROVAL_COLUMNS} FROM approvals WHERE approval_id = :approval_id",
    returns=True,
)
DECIDE = Statement(
    "approvals.decide",
    """UPDATE approvals SET state = :state, checker = :checker, decided_at = :now, reason = :reason
       WHERE approval_id = :approval_id AND state = 'waiting' AND payload_hash = :payload_hash""",
    rows=1,
)

COMMAND = Statement(
    "commands.ask",
    """INSERT INTO commands (command_id, name, arguments, actor, state, asked_at)
       VALUES (:command_id, :name, :arguments, :actor, 'waiting', :now)""",
    rows=1,
)
COMMANDS = Statement(
    "commands.waiting",
    "SELECT command_id, name, arguments, actor FROM commands WHERE state = 'waiting' ORDER BY asked_at LIMIT 20",
    returns=True,
)
# Of two workers that see a command one executes it.
COMMAND_CLAIM = Statement(
    "commands.claim",
    "UPDATE commands SET state = 'running' WHERE command_id = :command_id AND state = 'waiting'",
    rows=1,
)
COMMAND_DONE = Statement(
    "commands.done",
    """UPDATE commands SET state = :state, result = :result, done_at = :now WHERE command_id = :command_id
       AND state = 'running'""",
)
COMMAND_RESULT = Statement(
    "commands.result", "SELECT state, result FROM commands WHERE command_id = :command_id", returns=True
)

AUDIT = Statement(
    "audit.add",
    """INSERT INTO audit (audit_id, at, actor, action, subject, trace, detail)
       VALUES (:audit_id, :at, :actor, :action, :subject, :trace, :detail)""",
    rows=1,
)
AUDIT_UNSEALED = Statement(
    "audit.unsealed",
    """SELECT audit.seq, audit.audit_id, audit.at, audit.actor, audit.action, audit.subject, audit.trace,
       audit.detail FROM audit
       LEFT JOIN audit_chain ON audit_chain.seq = audit.seq WHERE audit_chain.seq IS NULL
       AND audit.seq > :after ORDER BY audit.seq LIMIT :limit""",
    returns=True,
)
AUDIT_LAST = Statement(
    "audit.last", "SELECT number, seq, hash FROM audit_chain ORDER BY number DESC LIMIT 1", returns=True
)
AUDIT_AT = Statement("audit.at", "SELECT hash FROM audit_chain WHERE number = :number", returns=True)
# The number is the primary key: of two sealers that chain the same row, one is refused.
AUDIT_CHAIN = Statement(
    "audit.chain", "INSERT INTO audit_chain (number, seq, hash) VALUES (:number, :seq, :hash)", rows=1
)
AUDIT_HEAD = Statement(
    "audit.head",
    "INSERT INTO audit_heads (number, at, hash, signature) VALUES (:number, :at, :hash, :signature)",
    rows=1,
)
AUDIT_HEADS = Statement(
    "audit.heads", "SELECT number, at, hash, signature FROM audit_heads ORDER BY number", returns=True
)
AUDIT_READ = Statement(
    "audit.read",
    """SELECT audit_chain.number, audit_chain.seq, audit_chain.hash, audit.audit_id, audit.at, audit.actor,
       audit.action,
       audit.subject, audit.trace, audit.detail FROM audit_chain LEFT JOIN audit ON audit.seq = audit_chain.seq
       WHERE audit_chain.number > :after ORDER BY audit_chain.number LIMIT :limit""",
    returns=True,
)
AUDIT_COUNT = Statement("audit.count", "SELECT COUNT(*) FROM audit", returns=True)
