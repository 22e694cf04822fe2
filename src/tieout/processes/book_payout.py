"""A payout: the money came to the bank, and the gateway kept its fees. One that came back is taken back."""

from __future__ import annotations

from msgspec.structs import replace

from tieout.canonical.ids import Ref
from tieout.canonical.settlement import Payout, payout_reasons
from tieout.engine.keys import trace_of
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import ByHand, Facts, Ignored
from tieout.finance.settlement import post_payout, unclear
from tieout.processes.journals import book, takes_journals
from tieout.processes.write_back import show_at_billing

_TODO = "at the ERP debit the bank (net) and the gateway's fees, credit gateway clearing"


@process("payout")
async def book_payout(run: Run, ref: Ref) -> None:
    """Book a payout when it is paid, and again when it came back. Where the company has named no account for gateway
    fees, or only a later one, payouts are booked from the bank statement, as before."""
    entity = run.masterdata.entity_of_billing(ref.connection)
    since = run.masterdata.account_since("fees", entity.code)
    by_hand = Ignored(f"{entity.name} books payouts of that day from the bank statement: no account for fees")
    if since is None or not takes_journals(run.connection(entity.erp)):
        raise by_hand
    payout = await run.read_or_wait(Payout, ref)
    paid = run.standing(entity.erp, "payout.paid", ref)
    if payout.arrives_on < since and paid is None:
        raise by_hand
    if payout.status == "pending":
        raise Ignored("the payout is pending")
    if not payout.complete:
        raise Ignored("the gateway is still listing what the payout pays out, and tells when it has")
    run.decided(entity, entity.erp)
    facts = Facts(
        amount_minor=payout.amount_minor, currency=payout.currency, entity=entity.code, number=ref.id
    )
    if why := unclear(payout):
        fact = f"payout {payout.status}"
        if paid is None and await run.settled_by_hand(fact):
            return
        raise ByHand("payout_by_hand", f"payout {ref.id}: {why}", _TODO, facts, fact=fact)
    receipt = None
    for reason in payout_reasons(payout, booked=paid is not None):
        posting = run.posting(post_payout, payout, reason, entity, run.masterdata, trace=trace_of(ref))
        returned = reason == "payout_returned"
        bearer = replace(ref, kind=reason) if returned else ref
        obligation = "payout.returned" if returned else "payout.paid" if reason == "payout" else "payout.fees"
        made = await book(run, entity, posting, obligation=obligation, bearer=bearer, facts=facts)
        receipt = made or receipt
    if receipt is None:
        raise Ignored("the payout moved nothing")
    await show_at_billing(run, ref, receipt, "posted")
