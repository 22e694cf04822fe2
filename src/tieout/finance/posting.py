"""What the ERP is asked to post for an invoice: finalised, voided, written off. Pure, and explains itself."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec

from tieout.canonical.decision import Rules
from tieout.canonical.invoice import CreditMemo, Invoice, InvoiceLine, Obligation
from tieout.canonical.journal import accounting_date
from tieout.canonical.money import allocate
from tieout.canonical.party import LegalEntity
from tieout.canonical.posting import Posting
from tieout.canonical.write import DocumentLine
from tieout.finance.credit import attributed
from tieout.finance.document import credited_lines, document_line, flipped, negated, receivables_document
from tieout.finance.journal import Ledger, Unpostable, check_amounts, original_date

_DATE_RULES = {"voided": "void date", "written_off": "write-off date", "recovered": "recovery date"}


def post_invoice(
    invoice: Invoice,
    obligation: Obligation,
    entity: LegalEntity,
    customer_external_id: str,
    rules: Rules,
    *,
    posting_period: str | None = None,
    applies_to: tuple[tuple[str, int], ...] = (),
    memos: tuple[CreditMemo, ...] = (),
    open_minor: int | None = None,
    payment_terms: str = "",
) -> Posting:
    """The posting of one obligation of an invoice.

    `applies_to` are (ERP id, amount) of the documents that a void or write-off settles; `memos` the memos that were
    issued for this invoice and stand: a void reverses only what they left; `open_minor` what was unpaid when it was
    written off (None: all that the memos left), or what settled it afterwards (`recovered`); `payment_terms` the
    CRM's terms, for the ERP's key of them. Raises MissingRule, Unbalanced, Unpostable."""
    check_amounts(
        f"invoice {invoice.number or invoice.ref.id}",
        invoice.currency,
        invoice.lines,
        net_minor=invoice.net_minor,
        tax_minor=invoice.tax_minor,
        total_minor=invoice.total_minor,
    )
    memos = tuple(attributed(memo, invoice) for memo in memos)
    task = _Task(invoice, obligation, entity, customer_external_id, rules)
    if invoice.total_minor == 0 and entity.zero_total == "ignore":
        reason = f"A total of zero makes no document: {entity.name} ignores them by its declared rule."
        return task.nothing(reason)
    match obligation.kind:
        case "finalised":
            kind = "invoice" if invoice.total_minor >= 0 else "credit_memo"
            lines = task.lines(invoice.lines if kind == "invoice" else flipped(invoice.lines))
            reason = "finalised" if kind == "invoice" else "negative_invoice"
            if kind == "credit_memo":
                task.ledger.say("The total is negative: posted as a credit memo of its absolute amount.")
        case "voided":
            kind, reason, lines = *task.void_kind(), task.void_lines(memos, open_minor)
            if not lines:
                return task.nothing("Credit memos had taken everything back: there is nothing to void.")
        case "written_off":
            kind, reason, lines = "credit_memo", "written_off", task.write_off_lines(memos, open_minor)
            if not lines:
                return task.nothing("Nothing was open any more: there is nothing to write off.")
        case "recovered":
            kind, reason, lines = "invoice", "recovered", task.recovery_lines(memos, open_minor or 0)
        case _:
            raise Unpostable("unknown_obligation", f"No posting rule for {obligation.kind!r} of an invoice.")
    return task.document(kind, reason, lines, posting_period or "", applies_to, payment_terms)


class _Task:
    """One obligation on its way to a document."""

    def __init__(
        self, invoice: Invoice, obligation: Obligation, entity: LegalEntity, customer: str, rules: Rules
    ) -> None:
        self.invoice, self.entity, self.customer, self.rules = invoice, entity, customer, rules
        self.ledger = Ledger()
        self.original = original_date(invoice, entity.time_zone, otherwise=obligation.occurred_at)
        self.accounting = self.original
        if obligation.kind != "finalised":
            rule = _DATE_RULES.get(obligation.kind, obligation.kind)
            self.accounting = accounting_date(obligation.occurred_at, entity.time_zone, rule=rule)
        self.occurred_at = obligation.occurred_at
        self.word = "Recovery" if obligation.kind == "recovered" else "Write-off"

    def nothing(self, reason: str) -> Posting:
        return Posting(write=None, accounting=self.accounting, decisions=(), explanation=(reason,))

    def lines(self, lines: tuple[InvoiceLine, ...]) -> list[DocumentLine]:
        """Document lines, by the rules and the recognition of the day the invoice was posted."""
        return [
            document_line(line, self.invoice.lines, self.original, self.entity, self.rules, self.ledger)
            for line in lines
        ]

    def void_kind(self) -> tuple[str, str]:
        """Voiding in place would act in the original period, so a void is a document of its own."""
        self.ledger.say(f"Void: reversed by a document of its own on {self.accounting.day}.")
        return ("credit_memo" if self.invoice.total_minor >= 0 else "invoice"), "voided"

    def void_lines(self, memos: tuple[CreditMemo, ...], open_minor: int | None) -> list[DocumentLine]:
        """Each line less what credit memos already took back; what was written off before comes off bad debt."""
        whole = self.invoice.lines if self.invoice.total_minor >= 0 else flipped(self.invoice.lines)
        rest = credited_lines(whole, memos)
        lines = self.lines(rest)
        before = [kind for kind, at in self.invoice.transitions if at <= self.occurred_at]
        if "written_off" in before:
            written_off = self._write_off_minor(memos, open_minor)
            self.ledger.say("It was written off before: the void takes the bad debt back.")
            lines += [negated(line) for line in self._loss(written_off, rest)]
        return lines

    def write_off_lines(self, memos: tuple[CreditMemo, ...], open_minor: int | None) -> list[DocumentLine]:
        """Bad debt for what is open; the tax in it comes back where the entity declares the relief."""
        amount = self._write_off_minor(memos, open_minor)
        if amount <= 0:
            return []
        return self._loss(amount, credited_lines(self.invoice.lines, memos))

    def recovery_lines(self, memos: tuple[CreditMemo, ...], amount_minor: int) -> list[DocumentLine]:
        """What the write-off took, as far as it was paid or credited after all: bad debt and its tax come back."""
        self.ledger.say(
            "It was settled after it had been written off: so much of the write-off is taken back."
        )
        return self._loss(amount_minor, credited_lines(self.invoice.lines, memos))

    def _write_off_minor(self, memos: tuple[CreditMemo, ...], open_minor: int | None) -> int:
        if open_minor is not None:
            return open_minor
        return self.invoice.total_minor - sum(memo.total_minor for memo in memos)

    def _loss(self, amount_minor: int, rest: tuple[InvoiceLine, ...]) -> list[DocumentLine]:
        if not self.entity.write_off_tax_relief:
            self.ledger.say(f"{self.entity.name} declares no tax relief: the gross amount is bad debt.")
            return [self._bad_debt(amount_minor)]
        self.ledger.say(f"{self.entity.name} declares tax relief: the tax in what is open comes back.")
        rows = self.lines(rest)
        taxes = [tax for line in rows for tax in line.taxes]
        # What was paid was paid for net and tax alike; the largest remainder keeps the sum to the minor unit.
        weights = [abs(sum(line.net_minor for line in rows)), *(abs(tax.tax_minor) for tax in taxes)]
        net_part, *tax_parts = allocate(amount_minor, weights)
        shares = [abs(tax.basis_minor) for tax in taxes]
        bases = allocate(net_part, shares) if any(shares) else [0] * len(taxes)
        relieved = tuple(
            msgspec.structs.replace(tax, tax_minor=part, basis_minor=basis)
            for tax, part, basis in zip(taxes, tax_parts, bases, strict=True)
            if part
        )
        return [msgspec.structs.replace(self._bad_debt(net_part), taxes=relieved)]

    def _bad_debt(self, net_minor: int) -> DocumentLine:
        decision = self.rules.account(
            "bad_debt",
            self.entity.code,
            self.invoice.ref.connection,
            self.invoice.currency,
            self.accounting.day,
        )
        choice = self.ledger.take(decision)
        return DocumentLine(
            item=choice.item,
            account=choice.account,
            description=f"{self.word} of {self.invoice.number or self.invoice.ref.id}",
            quantity=None,
            net_minor=net_minor,
            rule=decision.rule_id,
        )

    def document(
        self,
        kind: str,
        reason: str,
        lines: list[DocumentLine],
        posting_period: str,
        applies_to: tuple[tuple[str, int], ...],
        payment_terms: str,
    ) -> Posting:
        invoice = self.invoice
        write = receivables_document(
            self.ledger,
            self.rules,
            self.entity,
            lines,
            kind=kind,
            reason=reason,
            source=invoice.ref,
            number=invoice.number,
            currency=invoice.currency,
            customer=self.customer,
            day=self.accounting.day,
            accounts_on=self.original.day,
            posting_period=posting_period,
            applies_to=applies_to,
        )
        write = msgspec.structs.replace(write, trace=invoice.trace, po_number=invoice.po_number)
        if reason == "finalised":
            if payment_terms:
                choice = self.ledger.take(self.rules.terms(payment_terms, self.original.day))
                write = msgspec.structs.replace(write, terms=choice.erp_terms)
            if invoice.due_at is not None:
                due = invoice.due_at.astimezone(ZoneInfo(self.entity.time_zone)).date()
                write = msgspec.structs.replace(write, due=due)
        return Posting(
            write=write,
            accounting=self.accounting,
            decisions=self.ledger.decisions,
            explanation=self.ledger.explanation,
        )
