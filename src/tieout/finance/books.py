"""The books: three comparisons, each difference tied to a document, explained by its open exception or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from tieout.canonical.model import Value, encode
from tieout.connectors.contract import ListedDocument
from tieout.finance.breaks import BooksInput, Break, Difference, OpenException
from tieout.finance.clearing import compare_clearing, compare_settlements
from tieout.finance.contract_lines import ContractLineRow, LineTerms, compare_contract_lines
from tieout.finance.ledger import LedgerRow, compare_ledger
from tieout.finance.receivables import PairedDocument, ReceivablesRow, compare_receivables


class BookRows(Value, frozen=True):
    """The three comparisons, row by row."""

    crm_billing: tuple[ContractLineRow, ...]
    billing_erp: tuple[ReceivablesRow, ...]
    subledger_gl: tuple[LedgerRow, ...]


class Books(Value, frozen=True):
    """The result. `differences` are explained by an open exception of that very document; `unexplained` and
    `duplicates` are not, and mean that the books do not agree. `books_hash` is equal for equal business."""

    books: BookRows
    differences: tuple[Difference, ...]
    unexplained: tuple[Difference, ...]
    duplicates: tuple[Difference, ...]
    books_hash: str

    @property
    def tied(self) -> bool:
        """Whether all that differs is explained."""
        return not self.unexplained and not self.duplicates

    def to_json(self) -> bytes:
        """The `books`, `differences`, `unexplained`, `duplicates` and `books_hash` of the printed document."""
        return encode(self)


def compare_books(books: BooksInput) -> Books:
    """Compare CRM with billing, billing with ERP, and the ERP's subledger with its general ledger.

    Every listed document is part of one pair or of one break, so that breaks sum to the difference of the totals; each
    comparison checks that itself, and books that do not tie say so in `unexplained`."""
    crm_billing, line_breaks = compare_contract_lines(books.crm_lines, books.billing_lines)
    billing_erp, document_breaks, pairs = compare_receivables(books)
    settlement_rows, settlement_breaks = compare_settlements(books)
    told = (*document_breaks, *settlement_breaks)
    subledger_gl, ledger_breaks = compare_ledger(books, told)
    breaks = [*line_breaks, *told, *ledger_breaks, *compare_clearing(books)]
    exceptions = {one.document: one for one in books.exceptions}
    listed = [one for one in breaks if one.listed]
    return Books(
        books=BookRows(
            crm_billing=crm_billing, billing_erp=(*billing_erp, *settlement_rows), subledger_gl=subledger_gl
        ),
        differences=_shown(one for one in _told(listed, exceptions, owned=True)),
        unexplained=_shown(one for one in _told(listed, exceptions, owned=False)),
        duplicates=_shown((one, exceptions.get(one.document)) for one in listed if one.duplicate),
        books_hash=_hash(books, crm_billing, pairs, listed),
    )


def _told(
    breaks: Iterable[Break], exceptions: dict[str, OpenException], *, owned: bool
) -> Iterable[tuple[Break, OpenException | None]]:
    for one in breaks:
        exception = exceptions.get(one.document)
        if not one.duplicate and (exception is not None) is owned:
            yield one, exception


def _shown(breaks: Iterable[tuple[Break, OpenException | None]]) -> tuple[Difference, ...]:
    found = [
        Difference(
            pair=one.pair,
            entity=one.entity,
            currency=one.currency,
            document=one.document,
            amount_minor=one.amount_minor,
            cause=one.cause if exception is None else exception.cause,
            exception_id=None if exception is None else exception.exception_id,
        )
        for one, exception in breaks
    ]
    return tuple(sorted(found, key=lambda one: (one.pair, one.entity, one.currency, one.document)))


def _hash(
    books: BooksInput,
    lines: tuple[ContractLineRow, ...],
    pairs: tuple[PairedDocument, ...],
    breaks: list[Break],
) -> str:
    """Over business content alone: ids, numbers and the order of arrival differ from run to run, the business does not.

    Contract lines, documents with both days and their period, balances by account, and each difference's amount."""
    content = {
        "lines": _sorted(
            [row.entity, row.currency, row.product, _side(row.crm), _side(row.billing)] for row in lines
        ),
        "documents": _sorted(
            [
                pair.source.entity,
                pair.source.currency,
                pair.expected.measure,
                pair.source.day.isoformat(),
                pair.source.open_minor,
                pair.expected.amount_minor,
                pair.expected.tax_minor,
                None if pair.erp is None else _document(pair.erp),
            ]
            for pair in pairs
        ),
        "balances": _sorted(
            [one.entity, one.period, one.account, one.currency, one.balance_minor, one.subledger_minor]
            for one in books.balances
            if one.balance_minor or one.subledger_minor
        ),
        "breaks": _sorted(
            [one.pair, one.measure, one.entity, one.currency, one.amount_minor, one.duplicate]
            for one in breaks
        ),
    }
    return hashlib.sha256(encode(content)).hexdigest()


def _document(document: ListedDocument) -> list[object]:
    period = document.period_start.isoformat() if document.period_start else document.period
    return [
        document.entity,
        document.currency,
        document.day.isoformat(),
        period,
        abs(document.total_minor),
        abs(document.tax_minor),
        document.open_minor,
    ]


def _side(terms: LineTerms | None) -> list[object] | None:
    """Numbers that are equal hash equal: 1, 1.0 and 1.00 seats are the same."""
    if terms is None:
        return None
    return [
        f"{terms.quantity.normalize():f}",
        f"{terms.net_price_minor.normalize():f}",
        terms.frequency,
        None if terms.start is None else terms.start.isoformat(),
        None if terms.end is None else terms.end.isoformat(),
        terms.contracted_minor,
    ]


def _sorted(rows: Iterable[list[object]]) -> list[msgspec.Raw]:
    """Rows in the order of their own text: content alone decides."""
    return [msgspec.Raw(row) for row in sorted(map(encode, rows))]
