"""What was billed: invoices and credit memos, with the obligations they put on the books."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class LineTax(Value, frozen=True):
    """Tax on one line as billing decided it. `rate_percent` 7.25 means 7.25 %."""

    jurisdiction: str
    rate_percent: Decimal
    basis_minor: int
    tax_minor: int
    reason: str = ""


class InvoiceLine(Value, frozen=True):
    """One line. `net_minor` is after discounts and without tax; the service period is half-open, aware UTC."""

    id: str
    description: str
    product: str
    quantity: Decimal | None
    net_minor: int
    discount_minor: int = 0
    service_start: datetime | None = None
    service_end: datetime | None = None
    taxes: tuple[LineTax, ...] = ()
    contract_line: str = ""
    proration: bool = False
    invoice_line: str = ""

    @property
    def tax_minor(self) -> int:
        return sum(tax.tax_minor for tax in self.taxes)


class Obligation(Value, frozen=True):
    """One ledger-relevant transition of a document: what happened, when, and its key within the document."""

    kind: str
    subject: Ref
    occurred_at: datetime
    ordinal: int = 0


class Invoice(Value, frozen=True, tag_field="type", tag="invoice.v1"):
    """An invoice with all its lines and its history. `transitions` are (kind, moment) in order of time; kinds are
    `finalised`, `voided`, `written_off`, `paid`. `status` is the vendor's present word in ours, `pending` when unknown.
    `paid_minor` and `credited_minor` are what payments and credit memos have settled of it by now."""

    ref: Ref
    number: str
    customer: Ref
    subscription: Ref | None
    currency: str
    status: str
    issued_at: datetime | None
    due_at: datetime | None
    lines: tuple[InvoiceLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    transitions: tuple[tuple[str, datetime], ...] = ()
    opportunity: str = ""
    account: str = ""
    trace: str = ""
    po_number: str = ""
    paid_minor: int = 0
    credited_minor: int = 0
    # The memos that stand, by id; told of a voided or written-off invoice alone, which reverses only what they left.
    memos: tuple[str, ...] = ()
    # What of the customer's credit balance settled it, and what was paid of it after it had been written off.
    balance_minor: int = 0
    recovered_minor: int = 0

    def obligations(self) -> tuple[Obligation, ...]:
        """Every transition that the ledger must show, oldest first; payments are obligations of the payment."""
        return tuple(
            Obligation(kind=kind, subject=self.ref, occurred_at=moment)
            for kind, moment in self.transitions
            if kind in ("finalised", "voided", "written_off")
        )


class CreditMemo(Value, frozen=True, tag_field="type", tag="credit_memo.v1"):
    """A credit memo of one invoice. Amounts are positive. `refunds` are (refund id, amount in minor units)."""

    ref: Ref
    number: str
    invoice: Ref
    customer: Ref
    currency: str
    status: str
    issued_at: datetime
    voided_at: datetime | None
    lines: tuple[InvoiceLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    refunds: tuple[tuple[str, int], ...] = ()
    to_balance_minor: int = 0
    out_of_band_minor: int = 0
    reason: str = ""
