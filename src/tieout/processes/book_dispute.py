"""A dispute: the payer's bank has taken a payment back, with a fee; it gives it back, or it does not."""

from __future__ import annotations

from msgspec.structs import replace

from tieout.canonical.ids import Ref
from tieout.canonical.money import to_major
from tieout.canonical.party import LegalEntity
from tieout.canonical.payment import Payment
from tieout.canonical.settlement import ClearingMove, Dispute, dispute_reason
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import ByHand, Facts, Ignored
from tieout.finance.settlement import post_dispute_lost, post_dispute_move
from tieout.processes.journals import CREATE, book, takes_journals
from tieout.processes.routes import customer_at_erp, join_deal

_TODO = {
    "open": "debit the disputes receivable and the fee, credit gateway clearing",
    "won": "credit the disputes receivable, debit gateway clearing",
    "lost": "write the disputes receivable off, or open the receivable again, by the policy of the legal entity",
}


@process("dispute")
async def book_dispute(run: Run, ref: Ref) -> None:
    """Book what a dispute took and gave back, move by move, and its loss where the policy of the legal entity says how.
    Where the company has named no account for disputes, a person books it, as before."""
    dispute = await run.read_or_wait(Dispute, ref)
    if dispute.status == "inquiry":
        raise Ignored("an inquiry has moved no money")
    entity = run.masterdata.entity_of_billing(ref.connection)
    payment = await run.read_or_wait(Payment, dispute.payment)
    await join_deal(run, *(part.invoice for part in payment.applications))
    moves = sorted(dispute.moves, key=lambda move: (move.occurred_at, move.id))
    if dispute.status == "pending" or not await _booked_here(run, entity, dispute, moves):
        await _for_a_person(run, dispute, payment, entity)
        return
    if not moves:
        raise Ignored("the money of the dispute has not moved yet, and the gateway tells when it has")
    run.decided(entity, entity.erp)
    customer = await customer_at_erp(run, payment.customer, entity)
    facts = _facts(dispute, entity)
    for move in moves:
        posting = run.posting(
            post_dispute_move, dispute, move, entity, customer, run.masterdata, trace=run.trace
        )
        await book(run, entity, posting, obligation=_obligation(move), bearer=_bearer(ref, move), facts=facts)
    if dispute.status == "lost" and dispute.taken_minor:
        if entity.dispute_lost != "write_off":
            await _for_a_person(run, dispute, payment, entity)
            return
        await _write_off(run, dispute, entity, customer, facts)
    # Nothing is shown on the gateway's dispute: whoever changes one there may thereby submit staged evidence.


def _obligation(move: ClearingMove) -> str:
    return dispute_reason(move).replace("_", ".", 1)


def _bearer(ref: Ref, move: ClearingMove) -> Ref:
    """A dispute may be taken and given back more than once: each move bears its own obligation."""
    return replace(ref, kind="dispute_move", id=move.id)


async def _booked_here(run: Run, entity: LegalEntity, dispute: Dispute, moves: list[ClearingMove]) -> bool:
    """Whether the hub books this dispute: accounts were named for its day, and nobody has booked it by hand before."""
    ref = dispute.ref
    if any(run.standing(entity.erp, _obligation(move), _bearer(ref, move)) for move in moves):
        return True
    since = run.masterdata.account_since("disputes", entity.code)
    if since is None or not takes_journals(run.connection(entity.erp)) or dispute.opened_at.date() < since:
        return False
    return await run.record("by_hand", run.lane.lane_id, str) is None


async def _write_off(run: Run, dispute: Dispute, entity: LegalEntity, customer: str, facts: Facts) -> None:
    """The loss, on the day on which the gateway told of it; a later hint does not re-date it."""
    ref = dispute.ref
    standing = run.standing(entity.erp, "dispute.lost", ref)
    if standing is not None:
        receipt = await run.settled(standing, facts)
        await run.posted(entity.erp, CREATE, receipt, source=ref, obligation="dispute.lost")
        return
    lost_at = await run.told_at()
    posting = run.posting(
        post_dispute_lost, dispute, lost_at, entity, customer, run.masterdata, trace=run.trace
    )
    await book(run, entity, posting, obligation="dispute.lost", bearer=ref, facts=facts)


async def _for_a_person(run: Run, dispute: Dispute, payment: Payment, entity: LegalEntity) -> None:
    """Put the dispute before a person, with what to post, unless it was done."""
    fact = f"dispute {dispute.status}"
    if await run.settled_by_hand(fact):
        return
    fee = sum(move.fee_minor for move in dispute.moves)
    amounts = f"{to_major(dispute.amount_minor, dispute.currency)} {dispute.currency}"
    fees = f", with a fee of {to_major(fee, dispute.currency)}" if fee else ""
    raise ByHand(
        f"dispute_{dispute.status}",
        f"payment {payment.ref.id}: a dispute of {amounts}{fees} is {dispute.status} ({dispute.reason})",
        f"at the ERP {_TODO.get(dispute.status, 'see what its state means')}",
        _facts(dispute, entity),
        fact=fact,
    )


def _facts(dispute: Dispute, entity: LegalEntity) -> Facts:
    return Facts(
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        entity=entity.code,
        number=dispute.ref.id,
    )
