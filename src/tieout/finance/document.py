"""From billed lines to a receivables document: item, account, department and tax code by rule, amounts as billed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from tieout.canonical.decision import Rules
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, InvoiceLine, LineTax
from tieout.canonical.journal import AccountingDate
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import DocumentLine, DocumentWrite, TaxDetail
from tieout.finance.journal import Ledger, Unbalanced, document_journal, recognition, service_days


def document_line(
    line: InvoiceLine,
    originals: Sequence[InvoiceLine],
    accounting: AccountingDate,
    entity: LegalEntity,
    rules: Rules,
    ledger: Ledger,
) -> DocumentLine:
    """One line by rule. A line that corrects an invoice line takes that line's product and recognition, as they were
    on its accounting date: the memo must lead to the account that the invoice led to. Raises MissingRule."""
    model = next((one for one in originals if line.invoice_line and one.id == line.invoice_line), line)
    how = recognition(model, accounting)
    chosen = rules.item(model.product, entity.code, how, accounting.day)
    item = ledger.take(chosen)
    start, end = service_days(line if line.service_start is not None else model, accounting.time_zone)
    taxes = []
    for tax in line.taxes:
        code = ledger.take(rules.tax_code(entity.code, tax.jurisdiction, tax.rate_percent, accounting.day))
        taxes.append(
            TaxDetail(
                code=code,
                jurisdiction=tax.jurisdiction,
                rate_percent=tax.rate_percent,
                basis_minor=tax.basis_minor,
                tax_minor=tax.tax_minor,
            )
        )
    until = f"service until {end}" if end is not None else "no service period"
    ledger.say(f"Line {model.product}: {how} ({until}, accounting date {accounting.day}).")
    return DocumentLine(
        item=item.item,
        account=item.account,
        description=line.description,
        quantity=line.quantity,
        net_minor=line.net_minor,
        department=item.department,
        service_start=start,
        service_end=end,
        taxes=tuple(taxes),
        source_line=line.id,
        rule=chosen.rule_id,
    )


def receivables_document(
    ledger: Ledger,
    rules: Rules,
    entity: LegalEntity,
    lines: Sequence[DocumentLine],
    *,
    kind: str,
    reason: str,
    source: Ref,
    number: str,
    currency: str,
    customer: str,
    day: date,
    accounts_on: date,
    posting_period: str,
    applies_to: tuple[tuple[str, int], ...],
    trace: str = "",
) -> DocumentWrite:
    """The document with its journal. The receivables account is that of `accounts_on`, the original's day: a memo can
    settle only what stands on the same account. Raises MissingRule, Unbalanced."""
    net = sum(line.net_minor for line in lines)
    tax = sum(detail.tax_minor for line in lines for detail in line.taxes)
    applied = sum(amount for _, amount in applies_to)
    if applied > net + tax:
        raise Unbalanced(f"{reason} {number}", "applied more than its total", applied - net - tax, currency)
    receivables = rules.account("receivables", entity.code, source.connection, currency, accounts_on)
    ledger.take(receivables)
    payable = ("", "")
    if any(detail.tax_minor for line in lines for detail in line.taxes):
        taxes = rules.account("tax_payable", entity.code, source.connection, currency, accounts_on)
        payable = (ledger.take(taxes).account, taxes.rule_id)
    if posting_period:
        ledger.say(f"Posted into period {posting_period} by an approved release.")
    return DocumentWrite(
        kind=kind,
        reason=reason,
        source=source,
        number=number,
        entity=entity.code,
        subsidiary=entity.subsidiary,
        customer=customer,
        currency=currency,
        day=day,
        due=None,
        lines=tuple(lines),
        net_minor=net,
        tax_minor=tax,
        total_minor=net + tax,
        journal=document_journal(
            lines,
            kind=kind,
            receivables=(receivables.value.account, receivables.rule_id),
            tax_payable=payable,
            currency=currency,
            entity=entity.code,
            customer=customer,
        ),
        applies_to=applies_to,
        posting_period=posting_period,
        trace=trace,
    )


def flipped(lines: Iterable[InvoiceLine]) -> tuple[InvoiceLine, ...]:
    """The same lines with every amount turned round, each pointing at the line it was."""
    return tuple(
        msgspec.structs.replace(
            line,
            net_minor=-line.net_minor,
            discount_minor=-line.discount_minor,
            taxes=tuple(
                msgspec.structs.replace(tax, basis_minor=-tax.basis_minor, tax_minor=-tax.tax_minor)
                for tax in line.taxes
            ),
        )
        for line in lines
    )


def negated(line: DocumentLine) -> DocumentLine:
    """A document line with its amounts turned round."""
    taxes = tuple(
        msgspec.structs.replace(tax, basis_minor=-tax.basis_minor, tax_minor=-tax.tax_minor)
        for tax in line.taxes
    )
    return msgspec.structs.replace(line, net_minor=-line.net_minor, taxes=taxes)


def credited_lines(lines: Iterable[InvoiceLine], memos: Iterable[CreditMemo]) -> tuple[InvoiceLine, ...]:
    """What credit memos left of the lines of an invoice. A memo's line that names no invoice line stays as a negative
    line of its own, so that the sum is right; lines of which nothing is left are gone."""
    rest = {line.id: line for line in lines}
    loose: list[InvoiceLine] = []
    for taken in (line for memo in memos for line in memo.lines):
        if taken.invoice_line in rest:
            rest[taken.invoice_line] = _less(rest[taken.invoice_line], taken)
        else:
            loose += flipped([taken])
    return tuple(line for line in (*rest.values(), *loose) if line.net_minor or line.tax_minor)


def _less(line: InvoiceLine, taken: InvoiceLine) -> InvoiceLine:
    taxes: dict[tuple[str, Decimal], LineTax] = {
        (tax.jurisdiction, tax.rate_percent): tax for tax in line.taxes
    }
    for tax in flipped([taken])[0].taxes:
        key = (tax.jurisdiction, tax.rate_percent)
        if (before := taxes.get(key)) is None:
            taxes[key] = tax
        else:
            taxes[key] = msgspec.structs.replace(
                before,
                basis_minor=before.basis_minor + tax.basis_minor,
                tax_minor=before.tax_minor + tax.tax_minor,
            )
    return msgspec.structs.replace(
        line, net_minor=line.net_minor - taken.net_minor, taxes=tuple(taxes.values())
    )
