"""What must never be so: each invariant is a query that answers no row. `now` technical, `real_now` real microseconds,
`company` ours.

The ids are those of `docs/` and of alerts; `engine/invariants.py` lists every one in all its forms. The hub runs them
hourly; the simulation after every run.
"""

from __future__ import annotations

from typing import NamedTuple

from tieout.store.statements import Statement


class Invariant(NamedTuple):
    """One query that must answer nothing, and what a row of it means."""

    id: str
    text: str
    rows: Statement


def _query(name: str, sql: str, *, postgres: str | None = None) -> Statement:
    return Statement(f"invariants.{name}", sql, returns=True, postgres=postgres)


# Documents of which a source has one at most, at each connection.
_ONCE = (("I02", "customer"), ("I03", "subscription"), ("I04", "payment", "refund", "journal"))


def _made_twice(id_: str, *kinds: str) -> Invariant:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Invariant(
        id_,
        f"one source with two of these at one connection: {', '.join(kinds)}",
        _query(
            f"{kinds[0]}_twice",
            f"""SELECT documents.connection, documents.kind, documents.source, COUNT(*) FROM documents
               JOIN lanes ON lanes.lane_id = documents.lane_id WHERE documents.kind IN ({listed})
               AND documents.status <> 'WITHDRAWN' AND lanes.generation = 0
               GROUP BY documents.connection, documents.kind, documents.source HAVING COUNT(*) > 1 LIMIT 20""",
        ),
    )


# The longest any connector's absence takes to be conclusive, and five minutes.
_DOUBT_MICROS = 2 * (900 + 60) * 1_000_000 + 300_000_000

ALL: tuple[Invariant, ...] = (
    Invariant(
        "I05",
        "an event in a state that no event may be in",
        _query(
            "event_state",
            """SELECT seq, lane_id, state FROM inbox WHERE state NOT IN ('pending', 'applied', 'superseded',
               'ignored', 'parked')
               OR (state = 'ignored' AND detail = '') OR (state IN ('applied', 'superseded', 'parked') AND run_id = '')
               LIMIT 20""",
        ),
    ),
    Invariant(
        "I05",
        "a lost event: pending, and its lane is idle or was never made",
        _query(
            "event_lost",
            """SELECT inbox.seq, inbox.lane_id, lanes.state FROM inbox LEFT JOIN lanes ON lanes.lane_id = inbox.lane_id
               WHERE inbox.state = 'pending' AND (lanes.lane_id IS NULL OR lanes.state = 'idle') LIMIT 20""",
        ),
    ),
    Invariant(
        "I05",
        "a parked event whose lane went on",
        _query(
            "event_forgotten",
            """SELECT inbox.seq, inbox.lane_id, lanes.state FROM inbox JOIN lanes ON lanes.lane_id = inbox.lane_id
               WHERE inbox.state = 'parked' AND lanes.state = 'idle' LIMIT 20""",
        ),
    ),
    Invariant(
        "I09",
        "a document that stands with a difference and no exception says so",
        _query(
            "difference",
            """SELECT effect_key, differences FROM documents WHERE differences NOT IN ('', 'accepted')
               AND NOT EXISTS (SELECT 1 FROM exceptions WHERE exceptions.effect_key = documents.effect_key
               AND exceptions.state <> 'resolved') LIMIT 20""",
        ),
    ),
    Invariant(
        "I14",
        "one of our ids with two of theirs at once",
        _query(
            "crosswalk",
            """SELECT kind, canonical_id, connection, COUNT(*) FROM crosswalk WHERE valid_to IS NULL
               GROUP BY kind, canonical_id, connection HAVING COUNT(*) > 1 LIMIT 20""",
        ),
    ),
    Invariant(
        "I14",
        "one of their ids with two of ours at once",
        _query(
            "crosswalk_back",
            """SELECT kind, connection, external_id, COUNT(*) FROM crosswalk WHERE valid_to IS NULL
               GROUP BY kind, connection, external_id HAVING COUNT(*) > 1 LIMIT 20""",
        ),
    ),
    Invariant(
        "I14",
        "two effects that name one outside document",
        _query(
            "effect_ids",
            """SELECT connection, operation, external_id, COUNT(*) FROM effects WHERE external_id <> ''
               GROUP BY connection, operation, external_id HAVING COUNT(*) > 1 LIMIT 20""",
        ),
    ),
    Invariant(
        "I15",
        "a write in doubt longer than any horizon, and nobody is on it",
        _query(
            "doubt_age",
            f"""SELECT effects.effect_key, effects.state, effects.sent_at FROM effects JOIN lanes ON
               lanes.lane_id = effects.lane_id
               WHERE effects.state IN ('SENT', 'UNKNOWN') AND lanes.state NOT IN ('parked', 'leased', 'ready')
               AND effects.sent_at < :now - {_DOUBT_MICROS} LIMIT 20""",
        ),
    ),
    Invariant(
        "I15",
        "a confirmed effect without a request hash, a document key or an external id",
        _query(
            "effect_row",
            """SELECT effect_key, operation FROM effects WHERE state = 'CONFIRMED'
               AND (request_hash = '' OR document_key = '' OR external_id = '') LIMIT 20""",
        ),
    ),
    Invariant(
        "I16",
        "sent again before it was proved absent: a second wire key without a look-up or a rejection",
        _query(
            "blind_resend",
            """SELECT effects.effect_key, effects.epoch FROM effects WHERE effects.epoch > 0 AND NOT EXISTS
               (SELECT 1 FROM audit WHERE audit.subject = effects.effect_key
               AND audit.action IN ('effect.absent', 'effect.rejected')) LIMIT 20""",
        ),
    ),
    Invariant(
        "I21",
        "confirmed, finished, and no document recorded",
        _query(
            "unbound",
            """SELECT effects.effect_key, lanes.state FROM effects JOIN lanes ON lanes.lane_id = effects.lane_id
               WHERE effects.state = 'CONFIRMED' AND effects.operation NOT LIKE '%.post'
               AND effects.operation <> 'usage.report' AND lanes.state = 'idle'
               AND NOT EXISTS (SELECT 1 FROM documents WHERE documents.effect_key = effects.effect_key) LIMIT 20""",
        ),
    ),
    Invariant(
        "I21",
        "finished with a write that was never settled",
        _query(
            "unsettled",
            """SELECT effects.effect_key, effects.state FROM effects JOIN lanes ON lanes.lane_id = effects.lane_id
               WHERE effects.state IN ('PLANNED', 'SENT', 'UNKNOWN') AND lanes.state = 'idle' LIMIT 20""",
        ),
    ),
    Invariant(
        "I21",
        "parked without an open exception or blocker",
        _query(
            "ownerless",
            """SELECT lanes.lane_id, lanes.blocker FROM lanes WHERE lanes.state = 'parked' AND NOT EXISTS
               (SELECT 1 FROM exceptions WHERE exceptions.state <> 'resolved' AND
                 (exceptions.lane_id = lanes.lane_id OR (lanes.blocker <> '' AND exceptions.blocker = lanes.blocker)))
               LIMIT 20""",
        ),
    ),
    Invariant(
        "I21",
        "waits for nothing, or for what is there already",
        _query(
            "woken",
            """SELECT lanes.lane_id FROM lanes WHERE lanes.state = 'waiting' AND NOT EXISTS
               (SELECT 1 FROM waiters JOIN needs ON needs.need_key = waiters.need_key
                WHERE waiters.lane_id = lanes.lane_id AND needs.met_at IS NULL) LIMIT 20""",
        ),
    ),
    Invariant(
        "I21",
        "a hold of a lane that nobody runs",
        _query(
            "holds",
            """SELECT holds.resource, holds.lane_id FROM holds LEFT JOIN lanes ON lanes.lane_id = holds.lane_id
               WHERE lanes.lane_id IS NULL OR lanes.state <> 'leased' LIMIT 20""",
        ),
    ),
    Invariant(
        "I22",
        "leased by a worker whose lease ran out a minute ago",
        _query(
            "dead_lease",
            """SELECT lanes.lane_id, lanes.worker_id FROM lanes LEFT JOIN workers ON workers.worker_id = lanes.worker_id
               WHERE lanes.state = 'leased' AND COALESCE(workers.lease_until, 0) < CAST(:real_now AS BIGINT) - 60000000
               LIMIT 20""",
        ),
    ),
    Invariant(
        "I01",
        "one billing document with two documents at an ERP, without an approved repost",
        _query(
            "document_twice",
            """SELECT documents.connection, documents.kind, documents.reason, documents.source, COUNT(*) FROM documents
               JOIN lanes ON lanes.lane_id = documents.lane_id WHERE documents.kind IN ('invoice', 'credit_memo')
               AND documents.status <> 'WITHDRAWN' AND lanes.generation = 0
               GROUP BY documents.connection, documents.kind, documents.reason, documents.source
               HAVING COUNT(*) > 1 LIMIT 20""",
        ),
    ),
    *(_made_twice(id_, *kinds) for id_, *kinds in _ONCE),
    Invariant(
        "I12",
        "a deferral into another period that nobody approved",
        _query(
            "release_unapproved",
            """SELECT approval_id, state FROM approvals WHERE action = 'release_period' AND state IN ('approved',
               'executed') AND (checker = '' OR decided_at IS NULL) LIMIT 20""",
        ),
    ),
    Invariant(
        "I20",
        "an effect of another company",
        _query(
            "other_company",
            """SELECT effect_key FROM effects
               WHERE SUBSTR(effect_key, 1, LENGTH(:company) + 1) <> :company || '|' LIMIT 20""",
        ),
    ),
    Invariant(
        "I23",
        "a restored database that was not listed again within six hours",
        _query(
            "unlisted",
            """SELECT restored_at, backup_taken_at FROM restores WHERE listed_seq IS NULL AND ended_at IS NULL
               AND restored_at < :now - 21600000000 LIMIT 20""",
        ),
    ),
    Invariant(
        "I24",
        "an amount that is no integer, or has no currency",
        _query(
            "amounts",
            """SELECT effect_key, total_minor, tax_minor, currency FROM documents
               WHERE typeof(total_minor) <> 'integer' OR typeof(tax_minor) <> 'integer'
               OR (currency = '' AND (total_minor <> 0 OR tax_minor <> 0)) LIMIT 20""",
            postgres="""SELECT effect_key, total_minor, tax_minor, currency FROM documents
               WHERE pg_typeof(total_minor)::text <> 'bigint' OR pg_typeof(tax_minor)::text <> 'bigint'
               OR (currency = '' AND (total_minor <> 0 OR tax_minor <> 0)) LIMIT 20""",
        ),
    ),
    Invariant(
        "I25",
        "posted longer ago than any doubt lasts, not shown at the CRM, and no exception says so",
        _query(
            "not_shown",
            f"""SELECT documents.effect_key, documents.number FROM documents JOIN lanes ON
               lanes.lane_id = documents.lane_id WHERE documents.kind = 'invoice' AND documents.status = 'POSTED'
               AND documents.verified_at < :now - {_DOUBT_MICROS} AND lanes.state = 'idle' AND lanes.kind = 'invoice'
               AND NOT EXISTS (SELECT 1 FROM assigns WHERE assigns.lane_id = documents.lane_id
                 AND assigns.field_group = 'mirror' AND assigns.state IN ('CONFIRMED', 'REJECTED'))
               AND NOT EXISTS (SELECT 1 FROM exceptions WHERE exceptions.lane_id = documents.lane_id
                 AND exceptions.state <> 'resolved') LIMIT 20""",
        ),
    ),
)
NOT_IDLE = Statement(
    "invariants.not_idle",
    "SELECT lane_id, subject_id, state FROM lanes WHERE state IN ('parked', 'waiting') ORDER BY lane_id",
    returns=True,
)
# The frozen requests of whatever stands outside, page by page.
CONFIRMED = Statement(
    "invariants.confirmed",
    """SELECT effect_key, connection, lane_id, external_id, request FROM effects WHERE state = 'CONFIRMED'
       AND operation NOT LIKE '%.post' AND effect_key > :after ORDER BY effect_key LIMIT :limit""",
    returns=True,
)
