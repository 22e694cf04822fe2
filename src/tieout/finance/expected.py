"""What must stand in the ERP for one billing document, derived from the document alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.money import allocate
from tieout.connectors.contract import ListedDocument

# A document in another state owes the ledger nothing (yet): drafts, failed payments, states we do not know.
OWED = {
    "invoice": frozenset({"open", "paid", "voided", "written_off"}),
    "credit_memo": frozenset({"issued", "voided"}),
    "payment": frozenset({"succeeded"}),
    "refund": frozenset({"succeeded"}),
}
ENDINGS = ("voided", "written_off")
MEASURE_OF_KIND = {
    "invoice": "invoices",
    "credit_memo": "credits",
    "payment": "payments",
    "refund": "refunds",
}


class Expected(Value, frozen=True):
    """One document that the ERP must hold: its kind there, the measure it counts in, amounts in minor units.
    `amount_minor` and `tax_minor` are what the ERP's document says of itself; `sign` is -1 for what takes a credit
    memo back and so counts against the measure."""

    kind: str
    measure: str
    amount_minor: int
    tax_minor: int
    sign: int = 1


class Settled(Value, frozen=True):
    """What credit memos and payments took off an invoice at billing."""

    credited: dict[str, int]
    credited_tax: dict[str, int]
    paid: dict[str, int]


def fold_endings(documents: Iterable[ListedDocument]) -> tuple[ListedDocument, ...]:
    """A void or write-off that billing lists as a row of its own, under the id of its invoice, becomes a transition of
    that invoice: it is one document with a history, not a credit memo that billing issued."""
    rows = tuple(documents)
    endings: dict[str, list[ListedDocument]] = defaultdict(list)
    for row in rows:
        if row.kind == "credit_memo" and row.reason in ENDINGS:
            endings[row.id].append(row)
    folded = []
    for row in rows:
        if row.kind == "credit_memo" and row.reason in ENDINGS:
            continue
        if row.kind == "invoice" and row.id in endings:
            kinds = [one.reason for one in sorted(endings[row.id], key=lambda one: one.day)]
            history = tuple(dict.fromkeys([*row.transitions, *kinds]))
            folded.append(msgspec.structs.replace(row, transitions=history))
        else:
            folded.append(row)
    return tuple(folded)


def settled_at_billing(documents: Iterable[ListedDocument]) -> Settled:
    """Per invoice id, what standing credit memos and succeeded payments settled."""
    credited: dict[str, int] = defaultdict(int)
    credited_tax: dict[str, int] = defaultdict(int)
    paid: dict[str, int] = defaultdict(int)
    for document in documents:
        if document.kind == "payment" and document.status == "succeeded":
            for invoice, amount in document.settled:
                paid[invoice] += amount
        elif document.kind == "credit_memo" and document.status == "issued":
            for invoice, amount in document.settled:
                credited[invoice] += amount
                if document.total_minor:
                    credited_tax[invoice] += document.tax_minor * amount // document.total_minor
    return Settled(credited=credited, credited_tax=credited_tax, paid=paid)


def expected_documents(
    document: ListedDocument, settled: Settled, *, zero_total_posted: bool, tax_relief: bool
) -> tuple[Expected, ...]:
    """The documents that one billing document owes the ERP; none while it owes nothing."""
    if document.status not in OWED.get(document.kind, frozenset()):
        return ()
    match document.kind:
        case "invoice":
            return _of_invoice(document, settled, zero_total_posted=zero_total_posted, tax_relief=tax_relief)
        case "credit_memo":
            issued = Expected(
                kind="credit_memo",
                measure="credits",
                amount_minor=document.total_minor,
                tax_minor=document.tax_minor,
            )
            if document.status != "voided":
                return (issued,)
            taken_back = Expected(
                kind="invoice",
                measure="voids",
                amount_minor=document.total_minor,
                tax_minor=document.tax_minor,
                sign=-1,
            )
            return (issued, taken_back)
        case _:
            measure = MEASURE_OF_KIND[document.kind]
            return (
                Expected(kind=document.kind, measure=measure, amount_minor=document.total_minor, tax_minor=0),
            )


def _of_invoice(
    invoice: ListedDocument, settled: Settled, *, zero_total_posted: bool, tax_relief: bool
) -> tuple[Expected, ...]:
    total, tax = invoice.total_minor, invoice.tax_minor
    if total == 0 and not zero_total_posted:
        return ()
    transitions = invoice.transitions or tuple(kind for kind in ENDINGS if invoice.status == kind)
    kind, back = ("invoice", "credit_memo") if total >= 0 else ("credit_memo", "invoice")
    measure = "zero totals" if total == 0 else "invoices" if total > 0 else "credits"
    found = [Expected(kind=kind, measure=measure, amount_minor=abs(total), tax_minor=abs(tax))]
    left = abs(total) - settled.credited.get(invoice.id, 0)
    left_tax = abs(tax) - settled.credited_tax.get(invoice.id, 0)
    if "written_off" in transitions:
        found += _recoveries(invoice, [left - left_tax, left_tax], tax_relief=tax_relief)
        # Billing may go on stating what is due after it gave the invoice up; a void ends that.
        unpaid = left - settled.paid.get(invoice.id, 0) + sum(invoice.recovered) - invoice.balance_minor
        lost = invoice.open_minor if invoice.open_minor and invoice.status == "written_off" else unpaid
        shares = [left - left_tax, left_tax]
        if lost > 0:
            relief = allocate(lost, shares)[1] if tax_relief and left_tax else 0
            found.append(
                Expected(kind="credit_memo", measure="write-offs", amount_minor=lost, tax_minor=relief)
            )
            # Billing voids nothing that was paid: what came back before a void was credited.
            lost -= sum(invoice.recovered)
            relief = allocate(lost, shares)[1] if tax_relief and left_tax else 0
            left, left_tax = left - lost, left_tax - relief
    if "voided" in transitions and (left or left_tax or len(found) > 1):
        found.append(
            Expected(
                kind=back,
                measure="voids",
                amount_minor=left,
                tax_minor=left_tax,
                sign=1 if total >= 0 else -1,
            )
        )
    return tuple(found)


def _recoveries(invoice: ListedDocument, shares: list[int], *, tax_relief: bool) -> list[Expected]:
    """What was paid or credited after the write-off: for each a document that takes so much of it back."""
    return [
        Expected(
            kind="invoice",
            measure="recoveries",
            amount_minor=amount,
            tax_minor=allocate(amount, shares)[1] if tax_relief and shares[1] else 0,
        )
        for amount in invoice.recovered
    ]
