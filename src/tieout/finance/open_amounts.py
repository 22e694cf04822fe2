"""What is still to be paid, invoice by invoice; a payment that is missing in one book explains the invoice it paid."""

from __future__ import annotations

from collections.abc import Iterable

from tieout.canonical.money import to_major
from tieout.connectors.contract import ListedDocument
from tieout.finance.breaks import BILLING_ERP, Break, Totals

OPEN = "open receivables"


class OpenAmounts:
    """Open amounts of invoices on both sides: what billing waits for, what the ERP shows as remaining."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.deltas: dict[str, tuple[str, str, int]] = {}
        self.said: dict[str, str] = {}
        self.strangers: list[ListedDocument] = []

    def add(self, source: ListedDocument, held: Iterable[ListedDocument]) -> None:
        """One billing document and all that the ERP holds for it."""
        if source.kind != "invoice":
            return
        # A voided or written-off invoice is no receivable, whatever billing still prints as remaining.
        ours = source.open_minor if source.status == "open" else 0
        theirs = 0
        if ours:
            self.totals.add_left(OPEN, source.entity, source.currency, ours)
        for document in held:
            if document.kind != "invoice" or not document.open_minor:
                continue
            self.totals.add_right(OPEN, document.entity, document.currency, document.open_minor)
            if (document.entity, document.currency) == (source.entity, source.currency):
                theirs += document.open_minor
            else:
                self.strangers.append(document)
        if ours != theirs:
            self.deltas[source.id] = (source.entity, source.currency, ours - theirs)
            shown, other = to_major(ours, source.currency), to_major(theirs, source.currency)
            self.said[source.id] = f"{shown} {source.currency} is open at billing, {other} in the ERP"

    def add_unknown(self, document: ListedDocument) -> None:
        """An invoice of the ERP that billing does not know."""
        if document.kind == "invoice" and document.open_minor:
            self.totals.add_right(OPEN, document.entity, document.currency, document.open_minor)
            self.strangers.append(document)

    def compare(
        self, sources: Iterable[ListedDocument], breaks: Iterable[Break], owned: frozenset[str]
    ) -> list[Break]:
        """Each open difference, given to the document that caused it. In this order: the invoice that differs itself, a
        payment or credit memo that settled it and differs or is parked (`owned`), a break of this very amount."""
        told = list(breaks)
        broken = {one.document for one in told if one.listed}
        found = [
            self._break(one.source or one.id, one.entity, one.currency, -one.open_minor, "")
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
