"""A dispute: the payer's bank has taken a payment back. Until the hub writes journals, a person books it."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.money import to_major
from tieout.canonical.payment import Payment
from tieout.canonical.settlement import Dispute
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import ByHand, Facts, Ignored
from tieout.processes.routes import join_deal

_TODO = {
    "open": "debit the disputes receivable and the fee, credit gateway clearing",
    "won": "credit the disputes receivable, debit gateway clearing",
    "lost": "write the disputes receivable off, or open the receivable again, by the policy of the legal entity",
}


@process("dispute")
async def watch_dispute(run: Run, ref: Ref) -> None:
    """Put a dispute before a person, with what to post; nothing of it is lost, and nothing is posted twice."""
    dispute = await run.read_or_wait(Dispute, ref)
    if dispute.status == "inquiry":
        raise Ignored("an inquiry has moved no money")
    entity = run.masterdata.entity_of_billing(ref.connection)
    payment = await run.read_or_wait(Payment, dispute.payment)
    await join_deal(run, *(part.invoice for part in payment.applications))
    fee = sum(move.fee_minor for move in dispute.moves)
    amounts = f"{to_major(dispute.amount_minor, dispute.currency)} {dispute.currency}"
    fees = f", with a fee of {to_major(fee, dispute.currency)}" if fee else ""
    if await run.settled_by_hand(f"dispute {dispute.status}"):
        return
    raise ByHand(
        f"dispute_{dispute.status}",
        f"payment {payment.ref.id}: a dispute of {amounts}{fees} is {dispute.status} ({dispute.reason})",
        f"at the ERP {_TODO.get(dispute.status, 'see what its state means')}",
        Facts(
            amount_minor=dispute.amount_minor, currency=dispute.currency, entity=entity.code, number=ref.id
        ),
        fact=f"dispute {dispute.status}",
    )
