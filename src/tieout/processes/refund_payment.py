"""A refund: settles the credit memos that it pays out; one without a memo is for a person, or the entity's policy."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.payment import Refund
from tieout.engine.keys import trace_of
from tieout.engine.ledger import posted_need
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Need, NotYet, Parked
from tieout.finance.cash import post_refund
from tieout.processes.periods import in_period
from tieout.processes.routes import customer_at_erp, join_deal
from tieout.processes.write_back import show_at_billing


@process("refund")
async def refund_payment(run: Run, ref: Ref) -> None:
    """Record money returned at the ERP, against the credit memo that it settles."""
    refund = await run.read_or_wait(Refund, ref)
    if refund.status != "succeeded":
        raise Ignored(f"the refund is {refund.status}")
    entity = run.masterdata.entity_of_billing(ref.connection)
    run.decided(entity, entity.erp)
    facts = Facts(
        amount_minor=refund.amount_minor, currency=refund.currency, entity=entity.code, number=refund.ref.id
    )
    if not refund.credit_memos:
        raise Parked(
            "refund_without_memo",
            f"the gateway refunded {refund.payment.id} and no credit memo says what for",
            "issue the credit memo at billing with this refund, then `tieout exceptions retry`",
            facts,
        )
    await join_deal(run, *(memo for memo, _ in refund.credit_memos))
    customer = await customer_at_erp(run, refund.customer, entity)
    settles = await _memos(run, refund, entity.erp)
    posting = run.posting(
        post_refund, refund, entity, customer, run.masterdata, settles=settles, trace=trace_of(ref)
    )
    if posting.write is None:
        raise Ignored(posting.explanation[0])
    standing = run.standing(entity.erp, "refund.create", ref)
    write = await in_period(run, entity, posting.write, standing)
    receipt = await run.create(entity.erp, "refund.create", write, source=ref, facts=facts)
    receipt = await run.posted(entity.erp, "refund.create", receipt, source=ref)
    await show_at_billing(run, ref, receipt, "posted")


async def _memos(run: Run, refund: Refund, erp: str) -> tuple[tuple[str, int], ...]:
    """The ERP's ids of the memos that the refund settles; ends the run until they are posted."""
    settles: list[tuple[str, int]] = []
    missing: list[Need] = []
    for memo, amount_minor in refund.credit_memos:
        key = posted_need(memo, "credit_memo", erp)
        document = await run.met(key)
        if document is None:
            what = f"credit memo {memo.id} to be posted at {erp}"
            missing.append(Need(key=key, what=what, on_lane=str(memo), producer=memo))
        else:
            settles.append((document, amount_minor))
    if missing:
        raise NotYet(*missing)
    return tuple(settles)
