"""What is still to be paid, invoice by invoice; a payment that is missing in one book explains the invoice it paid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from tieout.canonical.money import to_major
from tieout.connectors.contract import ListedDocument
from tieout.finance.breaks import BILLING_ERP, Break, Totals
from tieout.finance.expected import ENDINGS

OPEN = "open receivables"


class OpenAt:
    """What was open of each invoice of one system at the end of a day; None: what is open now.

    Told back from now: what settled it later is added again. An application has no day of its own anywhere; it counts
    from the day of the payment or credit memo that it applies. What was voided or written off later was still open."""

    def __init__(self, documents: Iterable[ListedDocument], cut_off: date | None) -> None:
        self.cut_off = cut_off
        self._later: dict[str, int] = defaultdict(int)
        self._before: dict[str, int] = defaultdict(int)
        self._ended: dict[str, date] = {}
        if cut_off is None:
            return
        for one in documents:
            if one.kind == "credit_memo" and one.reason in ENDINGS and not one.settled:
                self._ended[one.id] = min(one.day, self._ended.get(one.id, one.day))
            elif one.kind in ("payment", "credit_memo") and one.posted:
                sums = self._later if one.day > cut_off else self._before
                for invoice, amount in one.settled:
                    sums[invoice] += amount

    def of(self, invoice: ListedDocument) -> int:
        """In minor units; 0 for what is no receivable: a draft, and a voided or written-off invoice, whatever billing
        still prints as remaining."""
        now = 0 if invoice.status in ("draft", *ENDINGS) else invoice.open_minor
        if self.cut_off is None:
            return now
        if invoice.day > self.cut_off:
            return 0
        ended = self._ended.get(invoice.id)
        if ended is not None and ended <= self.cut_off:
            return 0  # what was recovered of it afterwards is a document of its own
        if invoice.status in ENDINGS and ended is not None:
            return invoice.total_minor - self._before[invoice.id] - max(0, invoice.balance_minor)
        return now + self._later[invoice.id]


class OpenAmounts:
    """Open amounts of invoices on both sides: what billing waits for, what the ERP shows as remaining."""

    def __init__(self, totals: Totals, billing: OpenAt, erp: OpenAt) -> None:
        self.totals = totals
        self.billing = billing
        self.erp = erp
        self.deltas: dict[str, tuple[str, str, int]] = {}
        self.said: dict[str, str] = {}
        self.strangers: list[ListedDocument] = []

    def add(self, source: ListedDocument, held: Iterable[ListedDocument]) -> None:
        """One billing document and all that the ERP holds for it."""
        if source.kind != "invoice":
            return
        ours, theirs = self.billing.of(source), 0
        if ours:
            self.totals.add_left(OPEN, source.entity, source.currency, ours)
        for document in held:
            if document.kind != "invoice" or not (left := self.erp.of(document)):
                continue
            self.totals.add_right(OPEN, document.entity, document.currency, left)
            if (document.entity, document.currency) == (source.entity, source.currency):
                theirs += left
            else:
                self.strangers.append(document)
        if ours != theirs:
            self.deltas[source.id] = (source.entity, source.currency, ours - theirs)
            shown, other = to_major(ours, source.currency), to_major(theirs, source.currency)
            self.said[source.id] = f"{shown} {source.currency} is open at billing, {other} in the ERP"

    def add_unknown(self, document: ListedDocument) -> None:
        """An invoice of the ERP that billing does not know."""
        if document.kind == "invoice" and (left := self.erp.of(document)):
            self.totals.add_right(OPEN, document.entity, document.currency, left)
            self.strangers.append(document)

    def compare(
        self, sources: Iterable[ListedDocument], breaks: Iterable[Break], owned: frozenset[str]
    ) -> list[Break]:
        """Each open difference, given to the document that caused it. In this order: the invoice that differs itself, a
        payment or credit memo that settled it and differs or is parked (`owned`), a break of this very amount."""
        told = list(breaks)
        broken = {one.document for one in told if one.listed}
        found = [
            self._break(one.source or one.id, one.entity, one.currency, -self.erp.of(one), "")
            for one in self.strangers
        ]
        settlers = [one for one in sources if one.settled and (one.id in broken or one.id in owned)]
        for invoice, (entity, currency, delta) in self.deltas.items():
            if invoice in broken:
                found.append(self._break(invoice, entity, currency, delta, ""))
                continue
            rest = delta
            for settler in settlers:
                amount = sum(part for target, part in settler.settled if target == invoice)
                # Billing counts it as settled, the ERP does not: billing's open amount is the smaller one.
                if amount and rest and (share := max(rest, -amount) if rest < 0 else 0):
                    found.append(self._break(settler.id, entity, currency, share, ""))
                    rest -= share
            if rest:
                found.append(self._of_amount(told, invoice, entity, currency, rest))
        return found

    def _of_amount(self, told: list[Break], invoice: str, entity: str, currency: str, rest: int) -> Break:
        for one in told:
            if one.listed and (one.entity, one.currency, abs(one.amount_minor)) == (
                entity,
                currency,
                abs(rest),
            ):
                told.remove(one)
                return self._break(one.document, entity, currency, rest, "")
        return self._break(invoice, entity, currency, rest, self.said[invoice])

    def _break(self, document: str, entity: str, currency: str, amount: int, cause: str) -> Break:
        """Told on its own only with a cause of its own."""
        return Break(
            pair=BILLING_ERP,
            measure=OPEN,
            entity=entity,
            currency=currency,
            document=document,
            amount_minor=amount,
            cause=cause or "follows from the document's other difference",
            listed=bool(cause),
        )
