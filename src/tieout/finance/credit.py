"""What the ERP is asked to post for a credit memo, and for taking one back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tieout.canonical.decision import Rules
from tieout.canonical.invoice import CreditMemo, Invoice, InvoiceLine, LineTax
from tieout.canonical.journal import accounting_date
from tieout.canonical.money import allocate
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
    to split; an amount that names no line is spread over the invoice's (`attributed`). Raises MissingRule, Unbalanced,
    Unpostable."""
    memo = attributed(memo, invoice)
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


def attributed(memo: CreditMemo, invoice: Invoice) -> CreditMemo:
    """The memo with every amount on a line of its invoice. An amount that was credited as such, with no product and no
    line, is spread over the invoice's lines by their net amounts, and each of its taxes over the lines that bear that
    tax: by largest remainder, so that the parts sum to the minor unit."""
    lines: list[InvoiceLine] = []
    for line in memo.lines:
        loose = not line.invoice_line and not line.product
        lines += _spread(line, invoice.lines) if loose else [line]
    return msgspec.structs.replace(memo, lines=tuple(lines))


def _spread(line: InvoiceLine, whole: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    weights = [max(0, one.net_minor) for one in whole]
    if not any(weights):
        return [line]
    nets = allocate(line.net_minor, weights)
    taxes: list[list[LineTax]] = [[] for _ in whole]
    for tax in line.taxes:
        bearing = [_borne(one, tax) for one in whole]
        shares = bearing if any(bearing) else weights
        parts, bases = allocate(tax.tax_minor, shares), allocate(tax.basis_minor, shares)
        for place, (part, basis) in enumerate(zip(parts, bases, strict=True)):
            if part or basis:
                taxes[place].append(msgspec.structs.replace(tax, tax_minor=part, basis_minor=basis))
    return [
        msgspec.structs.replace(
            line,
            id=f"{line.id}/{one.id}",
            description=line.description or one.description,
            product=one.product,
            quantity=None,
            net_minor=net,
            discount_minor=0,
            service_start=one.service_start,
            service_end=one.service_end,
            taxes=tuple(of_line),
            contract_line=one.contract_line,
            invoice_line=one.id,
        )
        for one, net, of_line in zip(whole, nets, taxes, strict=True)
        if net or of_line
    ]


def _borne(line: InvoiceLine, tax: LineTax) -> int:
    """What a line bears of one tax."""
    same = (tax.jurisdiction, tax.rate_percent)
    return sum(max(0, one.tax_minor) for one in line.taxes if (one.jurisdiction, one.rate_percent) == same)
