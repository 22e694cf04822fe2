"""Fields set to values at an outside document: idempotent, so sent again freely, and read back where in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout.canonical.ids import Ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import Confirmed, OutcomeUnknown, Rejected
from tieout.canonical.write import Fields
from tieout.connectors.contract import Assignment, Keys
from tieout.engine import sending
from tieout.engine.keys import assign_key, content_hash, wire_key
from tieout.engine.stops import RunAgain
from tieout.store import effects
from tieout.store.statements import Refused

if TYPE_CHECKING:
    from tieout.engine.run import Run


async def assign(run: Run, target: Ref, group: str, fields: Fields, *, optional: bool) -> int:
    """What `Run.assign` says."""
    key = assign_key(target, group)
    raw = encode(fields)
    hashed = content_hash(raw)
    row = run.assigns.get(key)
    # The document's own first run: nobody can be expected to have set these fields yet, so it is not asked.
    unasked = row is None and run.lane.fence <= 1 and target.id == run.lane.subject_id
    if row is None and not unasked:
        rows = await run.hub.store.fetch(effects.ASSIGN_BY_KEY, {"assign_key": key})
        row = rows[0] if rows else None
    if row is not None and row[3] == hashed and row[2] in ("CONFIRMED", "REJECTED"):
        return 0
    revision = 1 if row is None else row[1] if row[3] == hashed else row[1] + 1
    plan = {
        "assign_key": key,
        "connection": target.connection,
        "kind": target.kind,
        "target_id": target.id,
        "field_group": group,
        "revision": revision,
        "fields": run.hub.keyring.seal(raw, f"assigns|{key}"),
        "fields_hash": hashed,
        "lane_id": run.lane.lane_id,
        "run_id": run.run_id,
        "trace": run.trace,
        "now": run.hub.now(),
    }
    try:
        await run.attempt((effects.ASSIGN_PLAN, plan))
    except Refused as refused:
        if unasked:
            raise RunAgain(run.hub.clock.now(), f"{key} was set elsewhere", count=False) from refused
        return 0  # a newer value was planned by another lane: this one is stale and is never sent
    connection = run.hub.connection(target.connection)
    keys = Keys(effect=key, document="", wire=wire_key(key, revision), trace=run.trace)
    assignment = Assignment(target=target, group=group, fields=fields, keys=keys)
    outcome = await sending.assign(run.hub, connection, assignment)
    # One found planned counts as sent: what became of it then nobody knows.
    doubtful = isinstance(outcome, OutcomeUnknown) or (row is not None and row[2] == "PLANNED")
    if isinstance(outcome, OutcomeUnknown):
        # Idempotent: sent again at once, and read back later in case the first one is still under way. Alone: a
        # batch may be unable to say which of its members was refused.
        outcome = await sending.assign(run.hub, connection, assignment, alone=True)
    run.hub.metrics.effects.labels(target.connection, f"assign.{group}", type(outcome).__name__).inc()
    done = {"assign_key": key, "revision": revision, "now": run.hub.now(), "verify_at": None}
    if isinstance(outcome, Confirmed):
        if doubtful:
            done["verify_at"] = run.hub.now() + 900_000_000
        run.note((effects.ASSIGN_DONE, {**done, "state": "CONFIRMED"}))
        run.assigns[key] = (key, revision, "CONFIRMED", hashed, 0)
        return int(revision)
    if isinstance(outcome, Rejected) and optional:
        run.note((effects.ASSIGN_DONE, {**done, "state": "REJECTED"}))
        return 0
    raise run.stop_for(outcome)
