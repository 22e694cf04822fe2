"""All tables. Moments are microseconds since 1970 UTC (BIGINT), amounts minor units, JSON is text, sealed bytes are
AES-GCM boxes of the keyring. Migrations are in `migrations/`; this metadata is what they lead to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
# An autoincrementing key: SQLite wants INTEGER, PostgreSQL BIGINT.
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


# Compared byte by byte on both databases: ranges of keys, orders and prefixes mean the same everywhere, whatever
# language PostgreSQL was installed in, and comparing is cheaper.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, *, null: bool = False, **kwargs: object) -> Column[str]:
    return Column(name, TEXT, nullable=null, **kwargs)  # type: ignore[arg-type]


def _moment(name: str, *, null: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _number(name: str, default: str = "0") -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text(default))


def _partial(name: str, where: str, *columns: Column[Any], unique: bool = False) -> None:
    """An index of only those rows that a hot statement looks for: it stays as small as they are few."""
    Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


inbox = Table(
    "inbox",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    _text("id"),
    _text("connection"),
    _text("event_id"),
    _text("type"),
    _text("lane_id"),
    _moment("occurred_at"),
    _moment("received_at", null=False),
    _text("state"),  # pending, applied, superseded, ignored, parked
    _text("detail", server_default=""),  # the rule that ignored it, the run that superseded it
    _text("run_id", server_default=""),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("connection", "event_id", name="inbox_once"),
)
Index("inbox_lane", inbox.c.lane_id)
_partial("inbox_pending", "state = 'pending'", inbox.c.lane_id, inbox.c.seq)
_partial("inbox_parked", "state = 'parked'", inbox.c.lane_id, inbox.c.seq)

lanes = Table(
    "lanes",
    metadata,
    _text("lane_id", primary_key=True),
    _text("connection"),
    _text("kind"),
    _text("subject_id"),
    _text("state"),  # idle, ready, leased, waiting, parked
    _moment("due_at", null=False),
    _text("worker_id", server_default=""),
    _number("fence"),
    _number("last_seq"),
    _number("hints"),
    _number("attempts"),
    _number("generation"),
    _text("run_id", server_default=""),
    _text("blocker", server_default=""),
    _text("content", server_default=""),
    _text("frozen", server_default=""),
    _text("trace", server_default=""),
    _text(
        "replay", server_default=""
    ),  # who asked for the coming run, why and from where, until it has ended
    _number("crashes"),  # workers that died in a row with it in hand, until a run of it ends
    _text("worker_group", server_default=""),  # whose workers alone run it
)
Index("lanes_trace", lanes.c.trace)
_partial("lanes_ready", "state = 'ready'", lanes.c.worker_group, lanes.c.due_at)
_partial("lanes_leased", "state = 'leased'", lanes.c.worker_id)
_partial("lanes_waiting", "state = 'waiting'", lanes.c.lane_id)
_partial("lanes_blocked", "blocker <> ''", lanes.c.blocker)
_partial("lanes_crashed", "state = 'ready' AND crashes > 0", lanes.c.crashes)

workers = Table(
    "workers",
    metadata,
    _text("worker_id", primary_key=True),
    _moment("started_at", null=False),
    _moment("lease_until", null=False),  # real time, not technical: leases are about processes
    _number("batch"),
    _text("host", server_default=""),
    _number("pid"),
    _text("serves", server_default="*"),  # the groups whose lanes it runs, as JSON
)

# What a connection takes at once, shrunk by its refusals, and how the living workers share it.
budgets = Table(
    "budgets",
    metadata,
    _text("connection", primary_key=True),
    Column("allowed", BigInteger, nullable=False),
    _number("shrunk_at"),
)
permits = Table(
    "permits",
    metadata,
    _text("connection", primary_key=True),
    _text("worker_id", primary_key=True),
    _number("held"),
)

runs = Table(
    "runs",
    metadata,
    _text("run_id", primary_key=True),
    _text("lane_id"),
    _text("process"),
    _number("attempt"),
    _moment("started_at", null=False),
    _moment("ended_at"),
    _text("outcome"),
    _text("detail", server_default=""),
    _text("actor", server_default=""),
    _text("trace", server_default=""),
)
Index("runs_lane", runs.c.lane_id, runs.c.started_at)

effects = Table(
    "effects",
    metadata,
    _text("effect_key", primary_key=True),
    _text("document_key"),
    _text("lane_id"),
    _text("process"),
    _text("connection"),
    _text("operation"),
    _text("source"),
    _text("state"),  # PLANNED, SENT, CONFIRMED, REJECTED, UNKNOWN
    _number("epoch"),
    _number("attempt"),
    _number("looks"),
    Column("request", LargeBinary, nullable=False),
    _text("request_hash"),
    _text("decisions", server_default=""),
    _moment("planned_at", null=False),
    _moment("first_sent_at"),
    _moment("sent_at"),
    _moment("absent_from"),
    _moment("confirmed_at"),
    _text("worker_id", server_default=""),
    _number("fence"),
    _text("external_id", server_default=""),
    _text("receipt", server_default=""),
    _text("resolved_by", server_default=""),
    _text("error", server_default=""),
    _text("run_id", server_default=""),
    _text("trace", server_default=""),
    _text("batch", server_default=""),
    _text("accepted", server_default=""),  # hash of another request that a person took what stands for
    UniqueConstraint("document_key", name="effects_document_key"),
)
Index("effects_lane", effects.c.lane_id)
_partial("effects_external", "external_id <> ''", effects.c.external_id)
Index("effects_source", effects.c.source)
Index("effects_trace", effects.c.trace)
_partial("effects_in_doubt", "state IN ('SENT', 'UNKNOWN')", effects.c.sent_at)

# Effects that left together in one call, under a wire key of its own: frozen before the bytes leave.
batches = Table(
    "batches",
    metadata,
    _text("batch_id", primary_key=True),
    _text("connection"),
    _text("operation"),
    _text("members"),  # effect keys with their send epoch, as JSON
    _moment("sent_at", null=False),
)

assigns = Table(
    "assigns",
    metadata,
    _text("assign_key", primary_key=True),
    _text("connection"),
    _text("kind"),
    _text("target_id"),
    _text("field_group"),
    _number("revision"),
    _text("state"),  # PLANNED, CONFIRMED, REJECTED
    Column("fields", LargeBinary, nullable=False),
    _text("fields_hash"),
    _text("lane_id"),
    _text("run_id", server_default=""),
    _text("trace", server_default=""),
    _moment("planned_at", null=False),
    _moment("confirmed_at"),
    _moment("verify_at"),
    _number("attempt"),
)
Index("assigns_lane", assigns.c.lane_id)
_partial("assigns_verify", "verify_at IS NOT NULL", assigns.c.verify_at)

documents = Table(
    "documents",
    metadata,
    _text("effect_key", primary_key=True),
    _text("connection"),
    _text("kind"),
    _text("external_id"),
    _text("number", server_default=""),
    _text("status"),  # CREATED, POSTED, POST_REJECTED, WITHDRAWN
    _text("entity", server_default=""),
    _text("currency", server_default=""),
    _number("total_minor"),
    _number("tax_minor"),
    _text("day", server_default=""),
    _text("period", server_default=""),
    _text("source"),
    _text("source_number", server_default=""),
    _text("reason", server_default=""),
    _text("lane_id"),
    _text("trace", server_default=""),
    _moment("verified_at"),
    _text("differences", server_default=""),
    _moment("created_at", null=False),
)
Index("documents_lane", documents.c.lane_id)
Index("documents_source", documents.c.source)
Index("documents_number", documents.c.number)
Index("documents_source_number", documents.c.source_number)
Index("documents_external", documents.c.external_id)
_partial("documents_unposted", "status = 'CREATED'", documents.c.created_at)

crosswalk = Table(
    "crosswalk",
    metadata,
    _text("kind", primary_key=True),
    _text("canonical_id", primary_key=True),
    _text("connection", primary_key=True),
    _text("external_id", primary_key=True),
    _moment("valid_from", null=False),
    _moment("valid_to"),
)
_partial(
    "crosswalk_external",
    "valid_to IS NULL",
    crosswalk.c.connection,
    crosswalk.c.kind,
    crosswalk.c.external_id,
    unique=True,
)

# Documents told in each other's stories, where one trace does not hold both.
links = Table(
    "links",
    metadata,
    _text("on_lane", primary_key=True),
    _text("lane_id", primary_key=True),
)

# One row per thing that somebody may wait for: waiter and binder lock this one row and look again.
needs = Table(
    "needs",
    metadata,
    _text("need_key", primary_key=True),
    _moment("met_at"),
    _text("value", server_default=""),
)
waiters = Table(
    "waiters",
    metadata,
    _text("lane_id", primary_key=True),
    _text("need_key", primary_key=True),
    _text("on_lane", server_default=""),
    _text("what", server_default=""),
    _moment("since", null=False),
    _moment("deadline_at", null=False),
)
Index("waiters_need", waiters.c.need_key)
Index("waiters_deadline", waiters.c.deadline_at)

holds = Table(
    "holds",
    metadata,
    _text("resource", primary_key=True),
    _text("lane_id"),
    _moment("since", null=False),
)
Index("holds_lane", holds.c.lane_id)

exceptions = Table(
    "exceptions",
    metadata,
    _text("exception_id", primary_key=True),
    _text("code"),
    _text("lane_id", server_default=""),
    _text("blocker", server_default=""),
    _text("document"),
    _text("number", server_default=""),
    _text("entity", server_default=""),
    _text("currency", server_default=""),
    Column("amount_minor", BigInteger),
    _text("cause"),
    _text("remedy"),
    _text("state"),  # open, deferred, resolved
    _text("owner", server_default=""),
    _text("effect_key", server_default=""),
    _text("trace", server_default=""),
    _text("detail", server_default=""),
    _moment("opened_at", null=False),
    _moment("deferred_until"),
    _text("reason", server_default=""),
    _moment("resolved_at"),
    _text("resolution", server_default=""),
)
_partial("exceptions_open", "state <> 'resolved'", exceptions.c.lane_id, exceptions.c.code)

approvals = Table(
    "approvals",
    metadata,
    _text("approval_id", primary_key=True),
    _text("action"),
    _text("payload"),
    _text("payload_hash"),
    _text("summary"),
    _text("maker"),
    _text("checker", server_default=""),
    _text("state"),  # waiting, approved, rejected, executed
    _text("exception_id", server_default=""),
    _moment("asked_at", null=False),
    _moment("decided_at"),
    _text("reason", server_default=""),
)

# What the hub accepted or learnt, sealed: orders, customers, swept copies (credit hold), releases.
records = Table(
    "records",
    metadata,
    _text("kind", primary_key=True),
    _text("key", primary_key=True),
    Column("body", LargeBinary, nullable=False),
    _moment("updated_at", null=False),
    _text("trace", server_default=""),
)
Index("records_trace", records.c.trace)

feeds = Table(
    "feeds",
    metadata,
    _text("connection", primary_key=True),
    _text("cursor", server_default=""),
    _text("worker_id", server_default=""),
    _number("fence"),
    _number("revision"),
    _moment("polled_at"),
    _moment("listed_at"),  # when a poll began that reached the present, while a restored hub lists again
)

# Each time that this database was put back from a backup, until everything outside was listed again.
restores = Table(
    "restores",
    metadata,
    Column("restored_at", BigInteger, primary_key=True, autoincrement=False),
    _moment("backup_taken_at", null=False),
    _text("actor"),
    Column("listed_seq", BigInteger),  # the newest event when every feed had been listed again
    _moment("ended_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    _text("audit_id"),
    _moment("at", null=False),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("trace", server_default=""),
    _text("detail", server_default=""),
    UniqueConstraint("audit_id", name="audit_once"),
)
Index("audit_trace", audit.c.trace)
# Few rows: that a doubt was settled by absence or refusal.
_partial("audit_settled", "action IN ('effect.absent', 'effect.rejected')", audit.c.subject)
audit_chain = Table(
    "audit_chain",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False, unique=True),
    _text("hash"),
)
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _moment("at", null=False),
    _text("hash"),
    _text("signature"),
)

# What the outside is told: written in the commit of what it tells of, then handed on to every receiver.
outbox = Table(
    "outbox",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    _text("event_id"),
    _text("type"),
    _text("subject"),
    _text("key"),  # events of one key are delivered in their order
    _moment("at", null=False),
    _text("state"),  # new, out
    _text("data"),
    UniqueConstraint("event_id", name="outbox_once"),
    sqlite_autoincrement=True,  # a number is never used twice, whatever was deleted
)
_partial("outbox_new", "state = 'new'", outbox.c.seq)
deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("receiver", primary_key=True),
    _text("key"),
    _text("state"),  # pending, delivered, dead
    _number("attempts"),
    _moment("due_at", null=False),
    _moment("queued_at", null=False),
    _moment("done_at"),
    _text("error", server_default=""),
)
_partial("deliveries_due", "state = 'pending'", deliveries.c.receiver, deliveries.c.due_at, deliveries.c.seq)
_partial("deliveries_order", "state = 'pending'", deliveries.c.receiver, deliveries.c.key, deliveries.c.seq)
_partial("deliveries_dead", "state = 'dead'", deliveries.c.receiver, deliveries.c.seq)
# Receivers that said they want no more; one that is not listed is on.
receivers = Table(
    "receivers",
    metadata,
    _text("receiver", primary_key=True),
    _text("reason", server_default=""),
    _moment("off_at", null=False),
)

commands = Table(
    "commands",
    metadata,
    _text("command_id", primary_key=True),
    _text("name"),
    _text("arguments"),
    _text("actor"),
    _text("state"),  # waiting, done, failed
    _text("result", server_default=""),
    _moment("asked_at", null=False),
    _moment("done_at"),
)
_partial("commands_waiting", "state = 'waiting'", commands.c.asked_at)

pins = Table(
    "pins",
    metadata,
    _text("connection", primary_key=True),
    _text("identity"),
    _moment("pinned_at", null=False),
)
keys = Table(
    "keys",
    metadata,
    _text("name", primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    _moment("made_at", null=False),
)
counters = Table(
    "counters",
    metadata,
    _text("name", primary_key=True),
    _number("value"),
)
