"""A credit memo: posted on its own date, with the items of the invoice that it corrects, and applied to it."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.engine.ledger import posted_need
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Need, NotYet
from tieout.finance.credit import post_credit_memo
from tieout.processes.balance import settle_with_credit
from tieout.processes.periods import in_period
from tieout.processes.recovery import after_write_off, applied_minor, take_back_write_off
from tieout.processes.routes import customer_at_erp
from tieout.processes.write_back import show_at_billing


@process("credit_memo")
async def credit_invoice(run: Run, ref: Ref) -> None:
    """Post a credit memo, and take it back when it is voided."""
    memo = await run.read_or_wait(CreditMemo, ref)
    if memo.status == "pending":
        raise Ignored("the credit memo's status is not known")
    invoice = await run.read_or_wait(Invoice, memo.invoice)
    run.trace = invoice.trace or run.trace
    entity = run.masterdata.entity_of_billing(ref.connection)
    run.decided(entity, entity.erp)
    customer = await customer_at_erp(run, memo.customer, entity)
    corrected = await _posted_invoice(run, memo.invoice, entity.erp)
    facts = Facts(
        amount_minor=memo.total_minor, currency=memo.currency, entity=entity.code, number=memo.number
    )
    applied = applied_minor(memo)
    if applied and after_write_off(memo, invoice):
        corrected = await take_back_write_off(
            run, memo.invoice, ref, applied, memo.issued_at, entity, customer
        )
    posting = run.posting(
        post_credit_memo,
        memo,
        invoice,
        entity,
        customer,
        run.masterdata,
        applies_to=((corrected, applied),) if applied else (),
        trace=run.trace,
    )
    if posting.write is None:
        raise Ignored(posting.explanation[0])
    standing = run.standing(entity.erp, "credit_memo.create", ref)
    write = await in_period(run, entity, posting.write, standing)
    receipt = await run.create(entity.erp, "credit_memo.create", write, source=ref, facts=facts)
    receipt = await run.posted(entity.erp, "credit_memo.create", receipt, source=ref)
    if memo.to_balance_minor:
        settles = ((corrected, applied),) if applied else ()
        await settle_with_credit(run, ref, "credited", receipt.external_id, settles, invoice, entity)
    shown = "posted"
    if memo.voided_at is not None:
        await _take_back(run, memo, invoice, customer)
        shown = "voided"
    await show_at_billing(run, ref, receipt, shown)


async def _posted_invoice(run: Run, invoice: Ref, erp: str) -> str:
    key = posted_need(invoice, "invoice", erp)
    document = await run.met(key)
    if document is None:
        what = f"invoice {invoice.id} to be posted at {erp}"
        raise NotYet(Need(key=key, what=what, on_lane=str(invoice), producer=invoice))
    return document


async def _take_back(run: Run, memo: CreditMemo, invoice: Invoice, customer: str) -> None:
    """A voided memo is taken back by a document of its own on the void date."""
    entity = run.masterdata.entity_of_billing(memo.ref.connection)
    posting = run.posting(
        post_credit_memo, memo, invoice, entity, customer, run.masterdata, voided=True, trace=run.trace
    )
    if posting.write is None:
        return
    standing = run.standing(entity.erp, "credit_memo.void", memo.ref)
    write = await in_period(run, entity, posting.write, standing)
    receipt = await run.create(
        entity.erp,
        "invoice.create",
        write,
        source=memo.ref,
        obligation="credit_memo.void",
        facts=Facts(
            amount_minor=memo.total_minor, currency=memo.currency, entity=entity.code, number=memo.number
        ),
    )
    await run.posted(entity.erp, "invoice.create", receipt, source=memo.ref, obligation="credit_memo.void")
