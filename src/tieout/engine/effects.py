"""One outside write, at most once: plan, freeze, commit SENT, send; out of a doubt by look-up, never by a guess."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tieout.canonical.ids import Ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    Found,
    Inconclusive,
    NotFound,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendOutcome,
)
from tieout.canonical.write import BARE, ApproveWrite, DocumentWrite, Write, decode_write, encode_write
from tieout.connectors.contract import Approver, Verifier, Writer
from tieout.engine import announcing, duplicates, restoring
from tieout.engine.keys import content_hash, document_key
from tieout.engine.ledger import (
    EffectRow,
    binding_steps,
    effect_of,
    evidence_need,
    kind_of,
    meet,
    posted_need,
    receipt_of,
)
from tieout.engine.moments import moment
from tieout.engine.retry import backoff
from tieout.engine.sending import BegunElsewhere, find, guarded, send, traits_of, unseal
from tieout.engine.stops import NO_FACTS, Diverged, Facts, Need, NotYet, Parked, RunAgain
from tieout.store import documents, effects
from tieout.store.statements import Step

if TYPE_CHECKING:
    from tieout.engine.run import Run

# Two empty look-ups at least this far apart, the later one after the horizon, prove that nothing was made.
_LOOK_AGAIN = timedelta(seconds=5)
_LOOKS = 2
# Look-ups that get no answer (each up to five minutes after the last) before a person is asked.
_PATIENCE_LOOKS = 40
# Marks the error of a write whose failure the vendor stored under the wire key.
_SAVED = "saved: "
# Whose outcome is never asked for by sending again: the vendor's memory of the wire key would answer wrongly. A stored
# failure it would repeat; and a restored hub does not know which epoch it had come to.
_LOOK_UP_ONLY = (_SAVED, restoring.MARK)


async def create(
    run: Run, connection: str, operation: str, write: Write, *, key: str, source: Ref, facts: Facts
) -> Receipt:
    """Make the document of one obligation, or answer what the ledger has of it."""
    run.asked.add(key)
    raw = encode_write(write)
    hashed = content_hash(raw)
    row = run.effects.get(key)
    if run.hub.restored is not None:
        row = row or await _in_other_lane(run, key)
        if await restoring.in_question(run, row):
            row = row or _new_row(run, key, connection, operation, source, raw, hashed)
            await restoring.doubt(run, row, raw, hashed)
    if row is not None:
        receipt = await _as_it_stands(run, row, write, raw, hashed, facts)
    else:
        row = _new_row(run, key, connection, operation, source, raw, hashed)
        try:
            outcome = await send(run, row, write, new=True)
        except BegunElsewhere:
            row = await _in_other_lane(run, key)
            if row is None:
                raise
            receipt = await _as_it_stands(run, row, write, raw, hashed, facts)
        else:
            receipt = await _settle(run, row, write, outcome, facts)
    return receipt if isinstance(write, BARE) else await _verified(run, row, receipt, facts, write)


async def _as_it_stands(
    run: Run, row: EffectRow, write: Write, raw: bytes, hashed: str, facts: Facts
) -> Receipt:
    """The receipt of an effect that the ledger has: as it was confirmed, out of its doubt, or sent now."""
    if row.state == "CONFIRMED":
        receipt = receipt_of(row)
        if row.effect_key not in run.documents and not isinstance(write, BARE):
            # Confirmed by evidence: the document is known, but not yet bound.
            frozen = decode_write(unseal(run, row))
            await run.commit(*_bound(run, row, frozen, receipt))
        _same_request(run, row, hashed, facts)
    elif row.state in ("SENT", "UNKNOWN"):
        receipt = await resolve(run, row, facts)
        _same_request(run, row, hashed, facts)
    else:
        row.request, row.request_hash = raw, hashed
        row.epoch = restoring.next_epoch(run.hub, row) if row.state == "REJECTED" else row.epoch
        outcome = await send(run, row, write, new=False)
        receipt = await _settle(run, row, write, outcome, facts)
    return receipt


async def _in_other_lane(run: Run, key: str) -> EffectRow | None:
    """The same key, born in another lane: a run that asks for one in flight elsewhere comes back when it is settled."""
    rows = await run.hub.store.fetch(effects.BY_KEY, {"effect_key": key})
    if not rows:
        return None
    row = effect_of(rows[0])
    if row.lane_id != run.lane.lane_id and row.state != "CONFIRMED":
        raise RunAgain(
            backoff(run.hub.clock.now(), run.lane.attempts, 0.0),
            f"{row.operation} in flight for {row.lane_id}",
        )
    run.effects[key] = row
    return row


def _new_row(
    run: Run, key: str, connection: str, operation: str, source: Ref, raw: bytes, hashed: str
) -> EffectRow:
    return EffectRow(
        effect_key=key,
        document_key=document_key(key),
        lane_id=run.lane.lane_id,
        process=run.process,
        connection=connection,
        operation=operation,
        source=str(source),
        state="PLANNED",
        epoch=0,
        attempt=0,
        looks=0,
        request=raw,
        request_hash=hashed,
        decisions="",
        first_sent_at=None,
        sent_at=None,
        absent_from=None,
        worker_id=run.worker,
        fence=run.lane.fence,
        external_id="",
        receipt="",
        resolved_by="",
        error="",
        trace=run.trace,
    )


async def _settle(run: Run, row: EffectRow, write: Write, outcome: SendOutcome, facts: Facts) -> Receipt:
    """Write down what came of sending, and go on or stop."""
    if isinstance(outcome, Confirmed):
        return await _confirm(run, row, write, outcome.receipt, resolved_by="")
    if isinstance(outcome, OutcomeUnknown):
        row.absent_from = run.hub.now()
        await _doubt(run, row, (_SAVED if outcome.saved else "") + outcome.reason)
        raise RunAgain(backoff(run.hub.clock.now(), run.lane.attempts, 0.0), f"in doubt: {outcome.reason}")
    stop = run.stop_for(outcome, facts)
    state = "PLANNED" if isinstance(stop, RunAgain) else "REJECTED"
    if state == "REJECTED":
        run.note(run.audit("effect.rejected", row.effect_key, str(outcome)[:200]))
    not_done = {"effect_key": row.effect_key, "state": state, "error": str(outcome)[:500]}
    await guarded(run, (effects.NOT_DONE, not_done))
    row.state = state
    raise stop


async def _confirm(run: Run, row: EffectRow, write: Write, receipt: Receipt, *, resolved_by: str) -> Receipt:
    now = run.hub.now()
    row.receipt = encode(receipt).decode()
    confirmed = {
        "effect_key": row.effect_key,
        "external_id": receipt.external_id,
        "receipt": row.receipt,
        "now": now,
        "resolved_by": resolved_by,
    }
    steps: list[Step] = [
        (effects.CONFIRM, confirmed),
        *_bound(run, row, write, receipt),
        run.audit("effect.confirmed", row.effect_key, f"{receipt.external_id} {resolved_by}".strip()),
    ]
    await guarded(run, *steps)
    row.state, row.external_id = "CONFIRMED", receipt.external_id
    if resolved_by:
        run.hub.metrics.in_doubt.labels(resolved_by).inc()
    return receipt


def _bound(run: Run, row: EffectRow, write: Write, receipt: Receipt) -> list[Step]:
    """What a create made is known here from this commit on, and told of."""
    told = announcing.bound(run.hub, row, write, receipt, run.entity_code)
    return told + binding_steps(row, write, receipt, run.hub.now())


async def _doubt(run: Run, row: EffectRow, reason: str) -> None:
    doubt = {
        "effect_key": row.effect_key,
        "error": reason[:500],
        "absent_from": row.absent_from,
        "looks": row.looks,
    }
    await guarded(run, (effects.UNKNOWN, doubt))
    row.state, row.error = "UNKNOWN", reason


def _last_byte_at(run: Run, row: EffectRow) -> datetime:
    """The latest moment at which the request can have left: when its sender gave up. Where that was never written down
    (the process died), when the lane was taken over: by then the sender's lease had run out. Not when SENT was
    committed: the request may have stood in line for a permit after that."""
    row.absent_from = row.absent_from or run.hub.now()
    return moment(row.absent_from)


async def resolve(run: Run, row: EffectRow, facts: Facts) -> Receipt:
    """Settle a write in doubt: by the vendor's own idempotency while it lasts, else by look-up, else not yet."""
    _, traits = traits_of(run, row)
    write = decode_write(unseal(run, row))
    seen = await run.met(evidence_need(row.document_key))
    if seen is not None:
        return await _confirm(run, row, write, Receipt(external_id=seen), resolved_by="evidence")
    now = run.hub.clock.now()
    window = timedelta(seconds=traits.idempotency_seconds)
    since_first = now - moment(row.first_sent_at or row.sent_at or run.hub.now())
    if window and since_first < window * 0.9 and not row.error.startswith(_LOOK_UP_ONLY):
        # SENT is committed anew: absence is counted from the last time that the request may have left.
        row.request = encode_write(write)
        outcome = await send(run, row, write, new=False)
        if isinstance(outcome, Confirmed):
            return await _confirm(run, row, write, outcome.receipt, resolved_by="vendor idempotency")
        row.absent_from = run.hub.now()
        # A refusal of the second says nothing of the first, and neither does a stored failure: look it up.
        look_up = isinstance(outcome, Rejected) or (isinstance(outcome, OutcomeUnknown) and outcome.saved)
        await _doubt(run, row, f"{_SAVED if look_up else ''}{outcome}")
        if isinstance(outcome, OutcomeUnknown) and not look_up:
            raise RunAgain(backoff(now, run.lane.attempts, 0.0), f"in doubt: {outcome.reason}")
        if not look_up:
            raise run.stop_for(outcome, facts)
    last_byte = _last_byte_at(run, row)
    found = await find(run, row, write, last_byte)
    if isinstance(found, Found):
        receipt = await _confirm(run, row, write, found.receipt, resolved_by="look-up")
        if found.others:
            cause, remedy = duplicates.words(row, receipt.external_id, found.others)
            raise Parked(duplicates.CODE, cause, remedy, facts, effect_key=row.effect_key)
        return receipt
    return await _not_found(run, row, write, found, facts)


async def _not_found(
    run: Run, row: EffectRow, write: Write, found: Absent | Inconclusive, facts: Facts
) -> Receipt:
    now = run.hub.clock.now()
    if isinstance(found, Inconclusive):
        await _doubt(run, row, row.error or found.reason)
        if run.lane.attempts >= _PATIENCE_LOOKS:
            raise Parked(
                "in_doubt",
                f"{row.operation} of {row.source} may or may not stand at {row.connection}, "
                f"and it cannot be looked up: {found.reason}",
                f"make {row.connection} answer (key {row.document_key}), then `tieout exceptions retry`",
                facts,
                effect_key=row.effect_key,
            )
        raise RunAgain(
            found.ask_again_at or backoff(now, run.lane.attempts, 0.0), f"look-up failed: {found.reason}"
        )
    row.looks = row.looks + 1 if now >= found.conclusive_at else 0
    if row.looks < _LOOKS:
        await _doubt(run, row, row.error)
        # Each look as long after the last one as that was after the sending. To look in vain is no failed attempt: it
        # must not slow down what is tried afterwards.
        waited = now - moment(row.sent_at or run.hub.now())
        early = now if row.looks else min(now + waited, found.conclusive_at)
        raise RunAgain(max(early, now + _LOOK_AGAIN), "in doubt: not found yet", count=False)
    row.state, row.epoch = "UNKNOWN", restoring.next_epoch(run.hub, row)
    row.request = encode_write(write)
    run.note(
        run.audit("effect.absent", row.effect_key, f"conclusive since {found.conclusive_at.isoformat()}")
    )
    outcome = await send(run, row, write, new=False)
    return await _settle(run, row, write, outcome, facts)


def _same_request(run: Run, row: EffectRow, hashed: str, facts: Facts) -> None:
    """A confirmed effect is never silently taken for another request: it is Diverged, for a person, who may replay from
    the failed effect and so take it as it stands."""
    if hashed in (row.request_hash, row.accepted):
        return
    if run.replay is not None and run.replay.resumes:
        row.accepted = hashed
        run.note(
            (effects.ACCEPTED, {"effect_key": row.effect_key, "accepted": hashed}),
            run.audit("effect.accepted", row.effect_key, f"stands for request {hashed[:16]}"),
        )
        return
    raise Diverged(
        "diverged",
        f"{row.operation} of {row.source} stands outside as {row.external_id}, but would now be made otherwise "
        f"(request {row.request_hash[:12]} is now {hashed[:12]})",
        "see what changed with `tieout trace`; restore it, or correct the document by a credit memo and resolve",
        facts,
        effect_key=row.effect_key,
    )


async def _verified(
    run: Run, row: EffectRow, receipt: Receipt, facts: Facts, write: Write | None = None
) -> Receipt:
    """Read the document back once and compare it; what differs is `posted with difference`, for a person. `write`: the
    frozen request, where the run has it at hand."""
    document = run.documents.get(row.effect_key)
    if document is not None and document.verified_at is not None:
        if document.differences not in ("", "accepted"):
            return _differs(row, document.differences, facts)
        return replace(receipt, number=document.number, period=document.period)
    api = run.hub.connection(row.connection).api
    write = write or decode_write(unseal(run, row))
    posted, number, period, differences = receipt.posted, receipt.number, receipt.period, ""
    if isinstance(api, Verifier) and kind_of(write) not in ("customer", "subscription"):
        try:
            verified = await api.verify_document(row.operation, write, receipt.external_id)
        except Failure as failure:
            raise run.stop_for(failure.outcome) from failure
        except NotFound as missing:
            raise Parked(
                "vanished",
                f"{row.operation} of {row.source} was made as {receipt.external_id} and is not there any more",
                "restore it there, or approve a repost: `tieout replay --repost`",
                facts,
                effect_key=row.effect_key,
            ) from missing
        posted, number, period = verified.receipt.posted, verified.receipt.number, verified.receipt.period
        differences = "; ".join(
            f"{name}: asked {ours}, stands {theirs}" for name, ours, theirs in verified.differences
        )
    now = run.hub.now()
    verdict = {"effect_key": row.effect_key, "posted": int(posted), "number": number, "period": period}
    if posted:
        told = replace(receipt, number=number, period=period)
        run.note(*announcing.posted(run.hub, row, write, told))
    run.note((documents.VERIFIED, {**verdict, "now": now, "differences": differences}))
    if posted:
        run.note(*meet(posted_need(row.source, kind_of(write), row.connection), receipt.external_id, now))
    if differences:
        return _differs(row, differences, facts)
    run.posted_now[row.effect_key] = posted
    # A create answers with the id alone: the number that people know it by comes with the read-back.
    return replace(receipt, number=number, period=period)


def _differs(row: EffectRow, differences: str, facts: Facts) -> Receipt:
    raise Parked(
        "posted_with_difference",
        f"{row.operation} of {row.source} stands as {row.external_id} with {differences}",
        "issue a correcting memo, or have the difference accepted: `tieout exceptions resolve`",
        facts,
        effect_key=row.effect_key,
    )


async def settle(run: Run, row: EffectRow, facts: Facts) -> Receipt:
    """The receipt of an effect that was sent before, out of its doubt if it is in one; nothing is computed anew."""
    run.asked.add(row.effect_key)
    if row.state == "CONFIRMED":
        receipt = receipt_of(row)
        if row.effect_key not in run.documents:
            await run.commit(*_bound(run, row, decode_write(unseal(run, row)), receipt))
    else:
        receipt = await resolve(run, row, facts)
    return await _verified(run, row, receipt, facts)


async def require_posted(run: Run, connection: str, key: str, source: Ref) -> str:
    """End the run until the document stands in the ledger. A retry posts the existing draft, never a second one.
    Answers the number that posting gave it, empty where it had one before."""
    document = run.documents.get(key)
    row = run.effects[key]
    kind = document.kind if document is not None else kind_of(decode_write(unseal(run, row)))
    stands = run.posted_now.get(key) or (document is not None and document.status == "POSTED")
    if stands and not _to_be_settled(run, row, kind):
        await _post_settled(run, row)
        return document.number if document is not None else ""
    if document is not None and document.status in ("POST_REJECTED", "WITHDRAWN"):
        raise Parked(
            "post_rejected",
            f"{document.kind} {document.number or document.external_id} stands as {document.status} at {connection}",
            "have it approved there, or correct it, then `tieout exceptions retry`",
            Facts(
                amount_minor=document.total_minor,
                currency=document.currency,
                entity=document.entity,
                number=document.source_number,
            ),
            effect_key=key,
        )
    number = await _posted_by_us(run, row, kind, source)
    if number is not None:
        return number
    raise NotYet(
        Need(
            key=posted_need(source, kind, connection),
            what=f"{kind} {row.external_id} to be posted at {connection}",
        )
    )


def _to_be_settled(run: Run, row: EffectRow, kind: str) -> bool:
    """Whether posting does more than post, and was not confirmed: standing in the ledger is then no evidence of it."""
    api = run.hub.connection(row.connection).api
    traits = api.operations.get(f"{kind}.post") if isinstance(api, Writer) else None
    post = run.effects.get(f"{row.effect_key}|post")
    return traits is not None and traits.settles and (post is None or post.state != "CONFIRMED")


async def _post_settled(run: Run, row: EffectRow) -> None:
    """The document stands in the ledger: so a posting of ours that is in doubt has come through, whoever did it."""
    post = run.effects.get(f"{row.effect_key}|post")
    if post is None:
        return
    run.asked.add(post.effect_key)
    if post.state in ("SENT", "UNKNOWN"):
        write = decode_write(unseal(run, post))
        await _confirm(run, post, write, Receipt(external_id=row.external_id), resolved_by="evidence")


async def _posted_by_us(run: Run, row: EffectRow, kind: str, source: Ref) -> str | None:
    """Post a created document where the hub may: an effect of its own, so that it too is made at most once. Answers its
    number, None where the hub may not."""
    api = run.hub.connection(row.connection).api
    made = decode_write(unseal(run, row))
    if not isinstance(api, Approver) or not api.approves(made):
        return None
    traits = api.operations.get(f"{kind}.post") if isinstance(api, Writer) else None
    settles = (
        made.applies_to if isinstance(made, DocumentWrite) and traits is not None and traits.settles else ()
    )
    approval = ApproveWrite(document=row.external_id, kind=kind, applies_to=settles)
    key = f"{row.effect_key}|post"
    receipt = await create(
        run, row.connection, f"{kind}.post", approval, key=key, source=source, facts=NO_FACTS
    )
    now = run.hub.now()
    if receipt.number:
        run.note((documents.NUMBERED, {"effect_key": row.effect_key, "number": receipt.number}))
    was = run.documents.get(row.effect_key)
    told = Receipt(
        external_id=row.external_id,
        number=receipt.number or (was.number if was is not None else ""),
        period=was.period if was is not None else "",
    )
    run.note(*announcing.posted(run.hub, row, made, told))
    run.note((documents.STATUS, {"effect_key": row.effect_key, "status": "POSTED"}))
    run.note(*meet(posted_need(source, kind, row.connection), row.external_id, now))
    run.posted_now[row.effect_key] = True
    return receipt.number
