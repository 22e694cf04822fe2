"""Payouts and disputes: the gateway's own against the ERP's journals, and gateway clearing against all that made it.

What stands on a clearing account must be charges less refunds, disputes and payouts. Charges and refunds are compared
where receivables are; here is the rest, and that nothing else stands on the account.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tieout.canonical.money import to_major
from tieout.connectors.contract import ListedDocument, ListedSettlement
from tieout.finance.breaks import BILLING_ERP, SUBLEDGER_GL, BooksInput, Break, Totals
from tieout.finance.receivables import ReceivablesRow, same_period, totals_rows

MEASURE_OF_REASON = {
    "payout": "payouts",
    "payout_fees": "payouts",
    "payout_returned": "payouts returned",
    "dispute_taken": "disputes",
    "dispute_given_back": "disputes given back",
    "dispute_lost": "disputes lost",
}
OTHER = "other journals"


def compare_settlements(books: BooksInput) -> tuple[tuple[ReceivablesRow, ...], tuple[Break, ...]]:
    """Rows and breaks of what the gateway's payouts and disputes call for. What is not posted is not there."""
    comparison = _Settlements(books)
    for settlement in books.settlements:
        comparison.settlement(settlement)
    comparison.strangers()
    breaks = tuple(comparison.breaks)
    return totals_rows(comparison.totals), (*breaks, *comparison.totals.untied(breaks))


def compare_clearing(books: BooksInput) -> tuple[Break, ...]:
    """What stands on a clearing account, in functional currency, and none of its documents made."""
    stands: dict[tuple[str, str], int] = defaultdict(int)
    currency: dict[tuple[str, str], str] = {}
    for one in books.balances:
        place = (one.entity, one.account)
        if place in books.clearing:
            stands[place] += one.balance_minor
            currency[place] = one.currency
    made: dict[tuple[str, str], int] = defaultdict(int)
    for document in books.erp_documents:
        for account, _, functional in document.accounts if document.posted else ():
            made[document.entity, account] += functional
    breaks = []
    for place, found in sorted(stands.items()):
        rest = made[place] + books.clearing[place] - found
        if rest:
            shown = f"{to_major(abs(rest), currency[place])} {currency[place]}"
            side = "less" if rest > 0 else "more"
            cause = f"gateway clearing {place[1]} has {shown} {side} than its charges, refunds, disputes and payouts"
            name = f"clearing account {place[1]}"
            breaks.append(
                Break(
                    pair=SUBLEDGER_GL,
                    measure=name,
                    entity=place[0],
                    currency=currency[place],
                    document=name,
                    amount_minor=rest,
                    cause=cause,
                )
            )
    return tuple(breaks)


class _Settlements:
    """The walk over both sides."""

    def __init__(self, books: BooksInput) -> None:
        self.books = books
        self.totals = Totals(BILLING_ERP)
        self.breaks: list[Break] = []
        self.standing: dict[str, list[ListedDocument]] = defaultdict(list)
        self.waiting: dict[str, list[ListedDocument]] = defaultdict(list)
        for document in books.erp_documents:
            if document.kind == "journal":
                (self.standing if document.posted else self.waiting)[document.source].append(document)

    def settlement(self, one: ListedSettlement) -> None:
        held = self.standing.pop(one.id, [])
        waiting = self.waiting.get(one.id, [])
        for reason, amount in one.journals:
            measure = MEASURE_OF_REASON[reason]
            self.totals.add_left(measure, one.entity, one.currency, amount)
            found = _likeliest(held, reason, amount)
            if found is not None:
                held.remove(found)
                self._compare(one, measure, amount, found)
                continue
            cause = f"{_named(reason)} {one.id} of {_shown(amount, one.currency)} is not in the ERP"
            same = [journal for journal in waiting if journal.reason == reason]
            if same:
                name = same[0].number or same[0].id
                cause = f"{_named(reason)} {one.id} was created in the ERP as {name}, and is not posted"
            self._break(one.id, measure, one.entity, one.currency, amount, cause)
        asked = {reason for reason, _ in one.journals}
        for document in held:
            duplicate = document.reason in asked
            why = "it stands there already" if duplicate else "the gateway asks for none"
            self._surplus(document, why, duplicate=duplicate)

    def strangers(self) -> None:
        """Journals that carry our mark, and that no payout or dispute asks for."""
        for source, documents in self.standing.items():
            for document in documents:
                self._surplus(document, f"no payout or dispute {source or '(none named)'}")

    def _compare(self, one: ListedSettlement, measure: str, amount: int, found: ListedDocument) -> None:
        self.totals.add_right(measure, found.entity, found.currency, found.total_minor)
        name = f"{_named(found.reason)} {found.number or found.id}"
        if (one.entity, one.currency) != (found.entity, found.currency):
            here, there = f"{one.entity} {one.currency}", f"{found.entity} {found.currency}"
            cause = f"{name} stands in {there}, and belongs to {here}"
            self._break(one.id, measure, one.entity, one.currency, amount, cause)
            self._break(
                one.id, measure, found.entity, found.currency, -found.total_minor, cause, listed=False
            )
            return
        delta = amount - found.total_minor
        if delta:
            cause = (
                f"{name} says {_shown(found.total_minor, found.currency)} in the ERP,"
                f" the gateway {_shown(amount, one.currency)}"
            )
            self._break(one.id, measure, one.entity, one.currency, delta, cause)
        recorded = self.books.recorded.get(found.document_key)
        known = recorded is not None and bool(recorded.period or recorded.period_start)
        if recorded is not None and known and not same_period(recorded, found):
            period = found.period or found.period_start
            cause = (
                f"{name} stands in period {period}, recorded was {recorded.period or recorded.period_start}"
            )
            self._break(one.id, measure, one.entity, one.currency, 0, cause, listed=not delta)

    def _surplus(self, document: ListedDocument, why: str, *, duplicate: bool = False) -> None:
        measure = MEASURE_OF_REASON.get(document.reason, OTHER)
        self.totals.add_right(measure, document.entity, document.currency, document.total_minor)
        cause = (
            f"{_named(document.reason)} {document.number or document.id} of"
            f" {_shown(document.total_minor, document.currency)}: {why}"
        )
        self._break(
            document.source or document.id, measure, document.entity, document.currency,
            -document.total_minor, cause, duplicate=duplicate,
        )  # fmt: skip

    def _break(
        self,
        document: str,
        measure: str,
        entity: str,
        currency: str,
        amount: int,
        cause: str,
        *,
        listed: bool = True,
        duplicate: bool = False,
    ) -> None:
        self.breaks.append(
            Break(
                pair=BILLING_ERP,
                measure=measure,
                entity=entity,
                currency=currency,
                document=document,
                amount_minor=amount,
                cause=cause,
                listed=listed,
                duplicate=duplicate,
            )
        )


def _likeliest(held: Iterable[ListedDocument], reason: str, amount: int) -> ListedDocument | None:
    """The journal of a reason, of the right amount first."""
    same = [one for one in held if one.reason == reason]
    return min(same, key=lambda one: one.total_minor != amount, default=None)


def _named(reason: str) -> str:
    return reason.replace("_", " ") or "journal"


def _shown(amount_minor: int, currency: str) -> str:
    return f"{to_major(amount_minor, currency)} {currency}"
