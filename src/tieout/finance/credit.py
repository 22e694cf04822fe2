"""What the ERP is asked to post for a credit memo, and for taking one back."""

from __future__ import annotations

from tieout.canonical.decision import Rules
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.journal import accounting_date
from tieout.canonical.party import LegalEntity
from tieout.canonical.posting import Posting
from tieout.finance.document import document_line, receivables_document
from tieout.finance.journal import Ledger, Unpostable, check_amounts, original_date


def post_credit_memo(
    memo: CreditMemo,
    invoice: Invoice,
    entity: LegalEntity,
    customer_external_id: str,
    rules: Rules,
    *,
    posting_period: str | None = None,
    applies_to: tuple[tuple[str, int], ...] = (),
    voided: bool = False,
    trace: str = "",
) -> Posting:
    """The posting of a credit memo on its own issue date; with `voided`, the document that takes it back, on the void
    date. Its lines carry the items that the invoice's lines had. The earned and the unearned part are the ERP engine's
    to split. Raises MissingRule, Unbalanced, Unpostable."""
    name = f"credit memo {memo.number or memo.ref.id}"
    check_amounts(
        name,
        memo.currency,
        memo.lines,
        net_minor=memo.net_minor,
        tax_minor=memo.tax_minor,
        total_minor=memo.total_minor,
    )
    if memo.currency != invoice.currency:
        raise Unpostable("currency", f"{name} is in {memo.currency}, its invoice in {invoice.currency}.")
    if voided and memo.voided_at is None:
        raise Unpostable("not_voided", f"{name} is not voided.")
    moment = memo.voided_at if voided and memo.voided_at is not None else memo.issued_at
    rule = "void date of the credit memo" if voided else "issue date of the credit memo"
    accounting = accounting_date(moment, entity.time_zone, rule=rule)
    original = original_date(invoice, entity.time_zone, otherwise=memo.issued_at)
    ledger = Ledger()
    ledger.say(f"The lines lead where invoice {invoice.number or invoice.ref.id} led on {original.day}.")
    write = receivables_document(
        ledger,
        rules,
        entity,
        [document_line(line, invoice.lines, original, entity, rules, ledger) for line in memo.lines],
        kind="invoice" if voided else "credit_memo",
        reason="voided" if voided else "credited",
        source=memo.ref,
        number=memo.number,
        currency=memo.currency,
        customer=customer_external_id,
        day=accounting.day,
        accounts_on=original.day,
        posting_period=posting_period or "",
        applies_to=applies_to,
        trace=trace or invoice.trace,
    )
    return Posting(
        write=write, accounting=accounting, decisions=ledger.decisions, explanation=ledger.explanation
    )
