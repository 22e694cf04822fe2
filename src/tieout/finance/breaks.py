"""A difference between two books, tied to one document; and the totals that such differences must explain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

import msgspec

from tieout.canonical.model import Value
from tieout.connectors.contract import LedgerBalance, ListedDocument, ListedLine, ListedSettlement

CRM_BILLING = "crm_billing"
BILLING_ERP = "billing_erp"
SUBLEDGER_GL = "subledger_gl"


class OpenException(Value, frozen=True):
    """An exception that a person owns, open or deferred. `document` is the id of the document it is about (billing
    document, or the order's id in the CRM)."""

    exception_id: str
    document: str
    cause: str
    amount_minor: int = 0
    currency: str = ""
    entity: str = ""


class RecordedPosting(Value, frozen=True):
    """What the hub knows of one document that it posted: the period (name, or its first day), and the journal that it
    asked for, net per account in the document's currency, debit positive."""

    period: str = ""
    period_start: date | None = None
    accounts: tuple[tuple[str, int], ...] = ()


class BooksInput(Value, frozen=True):
    """Both sides as their own systems list them, and what the hub recorded.

    `recorded` is by our document key. `zero_total_posted` are the entities that post zero totals, `tax_relief` those
    that take tax back on a write-off. `settlements` are the payouts and disputes that the hub books; `clearing` the
    gateway clearing accounts, as (entity, account), of entities whose payouts it books, each with what was booked
    there by hand, by what the gateway says (functional currency, debit positive). `cut_off`: the day at whose end
    receivables are taken for open; None: now."""

    crm_lines: tuple[ListedLine, ...]
    billing_lines: tuple[ListedLine, ...]
    billing_documents: tuple[ListedDocument, ...]
    erp_documents: tuple[ListedDocument, ...]
    balances: tuple[LedgerBalance, ...]
    exceptions: tuple[OpenException, ...] = ()
    recorded: dict[str, RecordedPosting] = msgspec.field(default_factory=dict)
    zero_total_posted: frozenset[str] = frozenset()
    tax_relief: frozenset[str] = frozenset()
    settlements: tuple[ListedSettlement, ...] = ()
    clearing: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    cut_off: date | None = None


class Break(Value, frozen=True):
    """One document's share of the difference of one measure: left side less right side. `listed` is False for a
    difference that follows from another of the same document (its tax, its open amount) and is not told twice."""

    pair: str
    measure: str
    entity: str
    currency: str
    document: str
    amount_minor: int
    cause: str
    duplicate: bool = False
    listed: bool = True


class Difference(Value, frozen=True):
    """A break as it is shown: explained when `exception_id` names the open exception of that very document."""

    pair: str
    entity: str
    currency: str
    document: str
    amount_minor: int
    cause: str
    exception_id: str | None = None


class Totals:
    """Sums of both sides by (measure, entity, currency)."""

    def __init__(self, pair: str) -> None:
        self.pair = pair
        self.left: dict[tuple[str, str, str], int] = defaultdict(int)
        self.right: dict[tuple[str, str, str], int] = defaultdict(int)
        self.left_count: dict[tuple[str, str, str], int] = defaultdict(int)
        self.right_count: dict[tuple[str, str, str], int] = defaultdict(int)

    def add_left(
        self, measure: str, entity: str, currency: str, amount_minor: int, *, count: int = 1
    ) -> None:
        self.left[measure, entity, currency] += amount_minor
        self.left_count[measure, entity, currency] += count

    def add_right(
        self, measure: str, entity: str, currency: str, amount_minor: int, *, count: int = 1
    ) -> None:
        self.right[measure, entity, currency] += amount_minor
        self.right_count[measure, entity, currency] += count

    def keys(self) -> list[tuple[str, str, str]]:
        """(measure, entity, currency) of all that was counted on either side."""
        return sorted({*self.left, *self.right})

    def untied(self, breaks: Iterable[Break]) -> list[Break]:
        """The rest of each total's delta that the breaks do not explain, as breaks; none when the books tie."""
        shares: dict[tuple[str, str, str], int] = defaultdict(int)
        for one in breaks:
            shares[one.measure, one.entity, one.currency] += one.amount_minor
        return [
            Break(
                pair=self.pair,
                measure=measure,
                entity=entity,
                currency=currency,
                document=f"total of {measure}",
                amount_minor=rest,
                cause=f"the differences of the documents do not sum to that of the total of {measure}",
            )
            for measure, entity, currency in sorted({*self.left, *self.right, *shares})
            if (rest := self._rest((measure, entity, currency), shares))
        ]

    def _rest(self, key: tuple[str, str, str], shares: dict[tuple[str, str, str], int]) -> int:
        return self.left.get(key, 0) - self.right.get(key, 0) - shares.get(key, 0)
