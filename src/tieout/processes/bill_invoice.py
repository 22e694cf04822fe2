"""An invoice: finalised, voided, written off. Every due obligation is made good, whatever hint started the run."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice, Obligation
from tieout.canonical.outcome import Receipt
from tieout.canonical.party import LegalEntity
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored
from tieout.finance.posting import post_invoice
from tieout.processes.balance import credit_was_used, settle_with_credit
from tieout.processes.periods import in_period
from tieout.processes.recovery import after_write_off, applied_minor, memos_of
from tieout.processes.routes import account_of, customer_at_erp
from tieout.processes.write_back import show_at_billing, show_at_crm

# The obligation's name in the effect key, and the word that billing and CRM show.
_NAMES = {
    "finalised": ("invoice.create", "posted"),
    "voided": ("invoice.void", "voided"),
    "written_off": ("invoice.write_off", "written off"),
}


@process("invoice")
async def bill_invoice(run: Run, ref: Ref) -> None:
    """Post an invoice, its void, its write-off at the ERP of its legal entity; then show it at billing and CRM."""
    invoice = await run.read_or_wait(Invoice, ref)
    run.trace = invoice.trace or run.trace
    if invoice.status == "pending":
        raise Ignored("the invoice's status is not known")
    obligations = invoice.obligations()
    if not obligations:
        raise Ignored("nothing is due: the invoice is not finalised")
    entity = run.masterdata.entity_of_billing(ref.connection)
    run.decided(entity, entity.erp)
    customer = await customer_at_erp(run, invoice.customer, entity)
    original: Receipt | None = None
    shown = ""
    for obligation in obligations:
        receipt = await _make_good(run, invoice, obligation, entity, customer, original)
        if receipt is not None:
            original = original or receipt
            shown = _NAMES[obligation.kind][1]
    if original is not None:
        await show_at_billing(run, ref, original, shown)
        await show_at_crm(run, invoice, await account_of(run, invoice.customer), original, shown)
        await credit_was_used(run, invoice, _facts(invoice, entity))


async def _make_good(
    run: Run, invoice: Invoice, due: Obligation, entity: LegalEntity, customer: str, original: Receipt | None
) -> Receipt | None:
    """One obligation: the receipt of its document, or None where the entity's rules ask for none."""
    name, operation = _NAMES[due.kind][0], operation_of(invoice, due)
    facts = _facts(invoice, entity)
    standing = run.standing(entity.erp, name, invoice.ref)
    rest = open_minor(invoice) if due.kind != "finalised" else 0
    memos = await memos_of(run, invoice) if due.kind != "finalised" and standing is None else ()
    if due.kind == "written_off":
        # What was credited later took nothing off what was open then.
        rest += sum(applied_minor(memo) for memo in memos if after_write_off(memo, invoice))
        memos = tuple(memo for memo in memos if not after_write_off(memo, invoice))
    gone = "written_off" in (kind for kind, at in invoice.transitions if at <= due.occurred_at)
    # What was written off before is settled already: a void then settles nothing more.
    settles = due.kind == "written_off" or (due.kind == "voided" and not gone)
    applied = ((original.external_id, rest),) if settles and rest and original is not None else ()
    if standing is not None and due.kind != "finalised":
        # Made good as things stood then: what is open has changed since, by this very document.
        receipt = await run.settled(standing, facts)
    else:
        posting = run.posting(
            post_invoice,
            invoice,
            due,
            entity,
            customer,
            run.masterdata,
            applies_to=applied,
            memos=memos,
            open_minor=rest if due.kind != "finalised" else None,
        )
        if posting.write is None:
            return None
        write = await in_period(run, entity, posting.write, standing)
        receipt = await run.create(
            entity.erp, operation, write, source=invoice.ref, obligation=name, facts=facts
        )
    receipt = await run.posted(entity.erp, operation, receipt, source=invoice.ref, obligation=name)
    if made := credit_made(invoice, due):
        await settle_with_credit(run, invoice.ref, made, receipt.external_id, applied, invoice, entity)
    return receipt


def _facts(invoice: Invoice, entity: LegalEntity) -> Facts:
    return Facts(
        amount_minor=invoice.total_minor, currency=invoice.currency, entity=entity.code, number=invoice.number
    )


def credit_made(invoice: Invoice, due: Obligation) -> str:
    """The reason under which this obligation's document stands for credit of the customer, or nothing: a negative
    invoice makes credit, and the void of one that was settled with credit gives that back as its own."""
    if due.kind == "finalised" and invoice.total_minor < 0:
        return "negative_invoice"
    return "given_back" if due.kind == "voided" and invoice.balance_minor > 0 else ""


def operation_of(invoice: Invoice, due: Obligation) -> str:
    """Which document an obligation makes: a void or a write-off is a credit memo; a negative invoice is one, too."""
    negative = invoice.total_minor < 0
    memo = negative if due.kind == "finalised" else not negative
    return "credit_memo.create" if memo else "invoice.create"


def open_minor(invoice: Invoice) -> int:
    """What a void or a write-off finds open: the total less what memos, payments (before it was given up) and the
    customer's credit have settled."""
    paid = invoice.paid_minor - invoice.recovered_minor
    return abs(invoice.total_minor) - invoice.credited_minor - paid - max(0, invoice.balance_minor)
