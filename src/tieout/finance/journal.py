"""What every posting shares: decisions written down as they are taken, days in the entity's zone, balanced lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tieout.canonical.decision import AnyDecision, Decision, V
from tieout.canonical.invoice import Invoice, InvoiceLine
from tieout.canonical.journal import AccountingDate, JournalLine, accounting_date
from tieout.canonical.money import to_major
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.write import DocumentLine


class Unbalanced(Failure):
    """The amounts of a document do not add up: it is refused, and the difference named. Parks the document."""

    def __init__(self, document: str, what: str, difference_minor: int, currency: str) -> None:
        shown = to_major(difference_minor, currency)
        super().__init__(Rejected(code="unbalanced", message=f"{document}: {what} by {shown} {currency}."))
        self.difference_minor = difference_minor
        self.currency = currency


class Unpostable(Failure):
    """A document that the rules do not let be posted without a person. Parks the document."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(Rejected(code=code, message=message))


class Ledger:
    """Collects what one posting decides, each decision once, and why."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[str, str, str], AnyDecision] = {}
        self._said: dict[str, None] = {}

    def take(self, decision: Decision[V]) -> V:
        """Use a decision, and remember it."""
        self._decisions.setdefault((decision.table, decision.rule_id, decision.version), decision)
        return decision.value

    def say(self, sentence: str) -> None:
        self._said.setdefault(sentence)

    @property
    def decisions(self) -> tuple[AnyDecision, ...]:
        return tuple(self._decisions.values())

    @property
    def explanation(self) -> tuple[str, ...]:
        return tuple(self._said)


def service_days(line: InvoiceLine, time_zone: str) -> tuple[date | None, date | None]:
    """First and last day (inclusive) of a line's service in the entity's zone; the period's end itself is outside."""
    if line.service_start is None or line.service_end is None:
        return None, None
    return _days(line.service_start, line.service_end, time_zone)


# The same months again and again.
@lru_cache(1024)
def _days(start: datetime, end: datetime, time_zone: str) -> tuple[date, date]:
    zone = ZoneInfo(time_zone)
    # In UTC, where a microsecond is one: an instant at midnight belongs to the day before as an end.
    last = max(start, end - timedelta(microseconds=1)).astimezone(UTC)
    return start.astimezone(zone).date(), last.astimezone(zone).date()


def recognition(line: InvoiceLine, accounting: AccountingDate) -> str:
    """`deferred` when service is still owed after the accounting date, else `immediate`."""
    _, last = service_days(line, accounting.time_zone)
    return "deferred" if last is not None and last > accounting.day else "immediate"


def check_amounts(
    document: str,
    currency: str,
    lines: Iterable[InvoiceLine],
    *,
    net_minor: int,
    tax_minor: int,
    total_minor: int,
) -> None:
    """Lines and taxes must sum to the document's own figures to the minor unit. Raises Unbalanced."""
    rows = list(lines)
    net, tax = sum(line.net_minor for line in rows), sum(line.tax_minor for line in rows)
    if net + tax != total_minor:
        what = "lines and taxes differ from the total"
        raise Unbalanced(document, what, net + tax - total_minor, currency)
    if net != net_minor:
        raise Unbalanced(document, "lines differ from the net amount", net - net_minor, currency)
    if tax != tax_minor:
        raise Unbalanced(document, "taxes of the lines differ from the tax", tax - tax_minor, currency)


def document_journal(
    lines: Iterable[DocumentLine],
    *,
    kind: str,
    receivables: tuple[str, str],
    tax_payable: tuple[str, str],
    currency: str,
    entity: str,
    customer: str,
) -> tuple[JournalLine, ...]:
    """The general-ledger lines of a receivables document: receivables against every line and each of its taxes.
    `receivables` and `tax_payable` are (account, rule). A line of nothing makes no journal line."""
    sign = 1 if kind == "invoice" else -1
    rows = tuple(lines)
    total = sum(line.net_minor + sum(tax.tax_minor for tax in line.taxes) for line in rows)
    journal = [
        JournalLine(
            account=receivables[0],
            amount_minor=sign * total,
            currency=currency,
            entity=entity,
            customer=customer,
            rule=receivables[1],
        )
    ]
    for line in rows:
        journal.append(
            JournalLine(
                account=line.account,
                amount_minor=-sign * line.net_minor,
                currency=currency,
                entity=entity,
                customer=customer,
                department=line.department,
                service_start=line.service_start,
                service_end=line.service_end,
                source_line=line.source_line,
                rule=line.rule,
            )
        )
        journal += [
            JournalLine(
                account=tax_payable[0],
                amount_minor=-sign * tax.tax_minor,
                currency=currency,
                entity=entity,
                customer=customer,
                source_line=line.source_line,
                rule=tax_payable[1],
            )
            for tax in line.taxes
        ]
    return balanced(journal)


def cash_journal(
    *,
    debit: tuple[str, str],
    credit: tuple[str, str],
    amount_minor: int,
    currency: str,
    entity: str,
    customer: str,
) -> tuple[JournalLine, ...]:
    """Two lines: money in or out against receivables. `debit` and `credit` are (account, rule)."""
    return balanced(
        JournalLine(
            account=account,
            amount_minor=amount,
            currency=currency,
            entity=entity,
            customer=customer,
            rule=rule,
        )
        for (account, rule), amount in ((debit, amount_minor), (credit, -amount_minor))
    )


def balanced(journal: Iterable[JournalLine]) -> tuple[JournalLine, ...]:
    """The lines that carry an amount. Raises Unbalanced when they do not sum to zero."""
    lines = tuple(line for line in journal if line.amount_minor)
    difference = sum(line.amount_minor for line in lines)
    if difference:
        raise Unbalanced("journal", "debits differ from credits", difference, lines[0].currency)
    return lines


def original_date(invoice: Invoice, time_zone: str, *, otherwise: datetime) -> AccountingDate:
    """The day an invoice hit, or will hit, the books: its own issue date, else the moment it was finalised."""
    finalised = next((at for kind, at in invoice.transitions if kind == "finalised"), otherwise)
    moment = finalised if invoice.issued_at is None else invoice.issued_at
    return accounting_date(moment, time_zone, rule="issue date of the invoice")
