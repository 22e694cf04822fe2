"""Billing against ERP: every billing document beside what the ERP holds for it, by entity and currency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TypeAlias

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.money import to_major
from tieout.connectors.contract import ListedDocument
from tieout.finance.breaks import BILLING_ERP, BooksInput, Break, RecordedPosting, Totals
from tieout.finance.expected import (
    MEASURE_OF_KIND,
    Expected,
    expected_documents,
    fold_endings,
    settled_at_billing,
)
from tieout.finance.open_amounts import OPEN, OpenAmounts, OpenAt

TAX = "tax"
PERIOD = "documents in their recorded period"
# Which reason of an ERP document, where the ERP tells it, belongs to which measure.
MEASURE_OF_REASON = {
    "voided": "voids",
    "written_off": "write-offs",
    "credited": "credits",
    "recovered": "recoveries",
}


class ReceivablesRow(Value, frozen=True):
    """One measure of one entity and currency: count and sum on both sides. `cut_off` for open receivables alone."""

    entity: str
    currency: str
    measure: str
    billing_count: int
    billing_minor: int
    erp_count: int
    erp_minor: int
    delta_minor: int
    cut_off: date | None = None


class PairedDocument(Value, frozen=True):
    """One document that must be in the ERP and the one that is (None: missing). Kept for the hash of the books."""

    source: ListedDocument
    expected: Expected
    erp: ListedDocument | None


Pairing: TypeAlias = tuple[tuple[ReceivablesRow, ...], tuple[Break, ...], tuple[PairedDocument, ...]]


def compare_receivables(books: BooksInput) -> Pairing:
    """Rows, breaks and pairs. A document that was created but is not posted does not stand in the ledger."""
    comparison = _Comparison(
        msgspec.structs.replace(books, billing_documents=fold_endings(books.billing_documents)),
        OpenAt(books.billing_documents, books.cut_off),
    )
    comparison.run()
    breaks = tuple(comparison.breaks)
    rows = totals_rows(comparison.totals, books.cut_off)
    return rows, (*breaks, *comparison.totals.untied(breaks)), tuple(comparison.pairs)


def totals_rows(totals: Totals, cut_off: date | None = None) -> tuple[ReceivablesRow, ...]:
    """One row for each measure, entity and currency; `cut_off` on open receivables alone."""
    return tuple(
        ReceivablesRow(
            entity=entity,
            currency=currency,
            measure=measure,
            billing_count=totals.left_count.get((measure, entity, currency), 0),
            billing_minor=(left := totals.left.get((measure, entity, currency), 0)),
            erp_count=totals.right_count.get((measure, entity, currency), 0),
            erp_minor=(right := totals.right.get((measure, entity, currency), 0)),
            delta_minor=left - right,
            cut_off=cut_off if measure == OPEN else None,
        )
        for measure, entity, currency in sorted(totals.keys(), key=lambda key: (key[1], key[2], key[0]))
    )


class _Comparison:
    """The walk over both listings."""

    def __init__(self, books: BooksInput, open_at_billing: OpenAt) -> None:
        self.books = books
        self.open_at_billing = open_at_billing
        self.totals = Totals(BILLING_ERP)
        self.breaks: list[Break] = []
        self.pairs: list[PairedDocument] = []
        self.sources = frozenset(one.id for one in books.billing_documents)
        self.settled = settled_at_billing(books.billing_documents)
        self.standing: dict[str, list[ListedDocument]] = defaultdict(list)
        self.waiting: dict[str, list[ListedDocument]] = defaultdict(list)
        for document in books.erp_documents:
            if document.kind in MEASURE_OF_KIND:
                (self.standing if document.posted else self.waiting)[document.source].append(document)

    def run(self) -> None:
        known: set[str] = set()
        open_at_erp = OpenAt(self.books.erp_documents, self.books.cut_off)
        amounts = OpenAmounts(self.totals, self.open_at_billing, open_at_erp)
        for source in self.books.billing_documents:
            held = self.standing.get(source.id, []) if source.id not in known else []
            known.add(source.id)
            self._document(source, list(held))
            amounts.add(source, held)
        for source_id, documents in self.standing.items():
            for document in documents if source_id not in known else ():
                self._surplus(
                    document, _by_kind(document), f"no billing document {source_id or '(none named)'}"
                )
                amounts.add_unknown(document)
        owned = frozenset(one.document for one in self.books.exceptions)
        self.breaks += amounts.compare(self.books.billing_documents, self.breaks, owned)

    def _document(self, source: ListedDocument, held: list[ListedDocument]) -> None:
        wanted = expected_documents(
            source,
            self.settled,
            zero_total_posted=source.entity in self.books.zero_total_posted,
            tax_relief=source.entity in self.books.tax_relief,
        )
        for expected in wanted:
            self.totals.add_left(
                expected.measure, source.entity, source.currency, expected.sign * expected.amount_minor
            )
            self._add_tax(self.totals.add_left, source, expected.kind, expected.tax_minor)
        for expected, found in _pair(wanted, held):
            self.pairs.append(PairedDocument(source=source, expected=expected, erp=found))
            if found is None:
                self._missing(source, expected)
            else:
                self._count(found, expected)
                self._compare(source, expected, found)
        for document in held:
            twin = next((one for one in wanted if one.kind == document.kind), None)
            if twin is None:
                self._surplus(document, _by_kind(document), "billing asks for none")
            else:
                others = [
                    one.number or one.id for one in self.standing[source.id] if one.kind == document.kind
                ]
                self._surplus(document, twin, f"documents {', '.join(others)} stand for one", duplicate=True)

        for number, document in enumerate(self.waiting.get(source.id, [])):
            same = [one for one in wanted if one.kind == document.kind]
            standing = sum(one.kind == document.kind for one in self.standing.get(source.id, []))
            if standing + number >= len(same) > 0:
                name = document.number or document.id
                cause = f"{_word(same[0])} {name}, not posted, stands beside another one"
                self._break(source, same[0].measure, 0, cause, duplicate=True)

    def _missing(self, source: ListedDocument, expected: Expected) -> None:
        waiting = [one for one in self.waiting.get(source.id, []) if one.kind == expected.kind]
        name = f"{_word(expected)} of {_shown(source, expected.amount_minor)}"
        cause = f"{name} is not in the ERP"
        if waiting:
            cause = (
                f"{name} was created in the ERP as {waiting[0].number or waiting[0].id}, and is not posted"
            )
        self._break(source, expected.measure, expected.sign * expected.amount_minor, cause)
        tax = expected.tax_minor if expected.kind == "invoice" else -expected.tax_minor
        if tax:
            self._break(source, TAX, tax, cause, listed=False)

    def _compare(self, source: ListedDocument, expected: Expected, found: ListedDocument) -> None:
        """A pair, side by side. Amounts of different entities or currencies count where they stand."""
        name = f"{_word(expected)} {found.number or found.id}"
        amount, tax = (
            abs(found.total_minor),
            abs(found.tax_minor) if expected.tax_minor or found.tax_minor else 0,
        )
        side = 1 if expected.kind == "invoice" else -1
        if (source.entity, source.currency) != (found.entity, found.currency):
            here, there = f"{source.entity} {source.currency}", f"{found.entity} {found.currency}"
            cause = f"{name} stands in {there}, and belongs to {here}"
            self._break(source, expected.measure, expected.sign * expected.amount_minor, cause)
            self._break(found, expected.measure, -expected.sign * amount, cause)
            self._break(source, TAX, side * expected.tax_minor, cause, listed=False)
            self._break(found, TAX, -side * tax, cause, listed=False)
            return
        delta, delta_tax = expected.amount_minor - amount, expected.tax_minor - tax
        if found.kind not in ("invoice", "credit_memo"):
            delta_tax = 0
        if delta:
            cause = f"{name} says {_shown(found, amount)} in the ERP, billing {_shown(source, expected.amount_minor)}"
            self._break(source, expected.measure, expected.sign * delta, cause)
        if delta_tax:
            cause = f"{name} has tax of {_shown(found, tax)} in the ERP, billing {_shown(source, expected.tax_minor)}"
            self._break(source, TAX, side * delta_tax, cause, listed=not delta)
        self._period(source, expected, found, told=bool(delta or delta_tax))

    def _period(
        self, source: ListedDocument, expected: Expected, found: ListedDocument, *, told: bool
    ) -> None:
        recorded = self.books.recorded.get(found.document_key)
        if recorded is None or not (recorded.period or recorded.period_start):
            return
        agrees = same_period(recorded, found)
        self.totals.add_left(PERIOD, source.entity, source.currency, 0)
        self.totals.add_right(PERIOD, source.entity, source.currency, 0, count=int(agrees))
        if not agrees:
            cause = (
                f"{_word(expected)} {found.number or found.id} of {_shown(found, abs(found.total_minor))} stands in"
                f" period {found.period or found.period_start}, recorded was {recorded.period or recorded.period_start}"
            )
            self._break(source, PERIOD, 0, cause, listed=not told)

    def _surplus(
        self, document: ListedDocument, role: Expected, why: str, *, duplicate: bool = False
    ) -> None:
        """A document of the ERP that nothing asks for, or that stands a second time."""
        self._count(document, role)
        cause = f"{_word(role)} {document.number or document.id} of {_shown(document, document.total_minor)}: {why}"
        amount = role.sign * abs(document.total_minor)
        self._break(document, role.measure, -amount, cause, duplicate=duplicate)
        tax = _tax(document)
        if tax:
            self._break(document, TAX, -tax, cause, listed=False)

    def _count(self, document: ListedDocument, role: Expected) -> None:
        self.totals.add_right(
            role.measure, document.entity, document.currency, role.sign * abs(document.total_minor)
        )
        self._add_tax(self.totals.add_right, document, document.kind, abs(_tax(document)))

    def _add_tax(
        self, add: Callable[[str, str, str, int], None], place: ListedDocument, kind: str, tax: int
    ) -> None:
        if tax:
            add(TAX, place.entity, place.currency, tax if kind == "invoice" else -tax)

    def _break(
        self,
        place: ListedDocument,
        measure: str,
        amount: int,
        cause: str,
        *,
        listed: bool = True,
        duplicate: bool = False,
    ) -> None:
        if not listed and not amount:
            return
        self.breaks.append(
            Break(
                pair=BILLING_ERP,
                measure=measure,
                entity=place.entity,
                currency=place.currency,
                document=self._name(place),
                amount_minor=amount,
                cause=cause,
                listed=listed,
                duplicate=duplicate,
            )
        )

    def _name(self, place: ListedDocument) -> str:
        """A document goes by the id of the billing document that it stems from, where there is one."""
        return place.id if place.id in self.sources or not place.source else place.source


def _pair(
    wanted: Sequence[Expected], held: list[ListedDocument]
) -> Iterable[tuple[Expected, ListedDocument | None]]:
    """Give each expected document the likeliest of those held, best likeness first; takes them out of `held`."""
    left = list(wanted)
    found: list[tuple[Expected, ListedDocument | None]] = []
    while left:
        choices = [(_likeness(one, document), one, document) for one in left for document in held]
        likely = [choice for choice in choices if choice[0] >= 0]
        if not likely:
            return [*found, *((one, None) for one in left)]
        _, expected, document = max(likely, key=lambda choice: choice[0])
        left.remove(expected)
        held[:] = [one for one in held if one is not document]
        found.append((expected, document))
    return found


def _likeness(expected: Expected, document: ListedDocument) -> int:
    """How much a document looks like the one that must be there; below 0: not at all."""
    if expected.kind != document.kind:
        return -1
    measure = MEASURE_OF_REASON.get(document.reason)
    said = 0 if measure is None else 4 if measure == expected.measure else -3
    amount = 2 if abs(document.total_minor) == expected.amount_minor else 0
    # A reason that contradicts is a worse sign than an amount that differs.
    return max(said + amount, 0) + int(abs(document.tax_minor) == expected.tax_minor)


def _by_kind(document: ListedDocument) -> Expected:
    measure = MEASURE_OF_REASON.get(document.reason, MEASURE_OF_KIND[document.kind])
    return Expected(
        kind=document.kind,
        measure=measure,
        amount_minor=abs(document.total_minor),
        tax_minor=abs(document.tax_minor),
    )


def _tax(document: ListedDocument) -> int:
    """Tax with its sign in the total of taxes."""
    match document.kind:
        case "invoice":
            return abs(document.tax_minor)
        case "credit_memo":
            return -abs(document.tax_minor)
        case _:
            return 0


def same_period(recorded: RecordedPosting, found: ListedDocument) -> bool:
    """Whether a document stands in the period that was recorded of it."""
    if recorded.period_start is not None and found.period_start is not None:
        return recorded.period_start == found.period_start
    return recorded.period == found.period


def _word(expected: Expected) -> str:
    words = {"invoices": "invoice", "credits": "credit memo", "voids": "void", "write-offs": "write-off"}
    words["recoveries"] = "recovery"
    return words.get(expected.measure, expected.kind.replace("_", " "))


def _shown(document: ListedDocument, amount_minor: int) -> str:
    return f"{to_major(abs(amount_minor), document.currency)} {document.currency}"
