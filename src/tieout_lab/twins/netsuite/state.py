"""What the account holds: records, documents, applications, postings; and how a refused write leaves no trace."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

# Record types whose external ids (and internal ids) share one space, as the vendor has it.
FAMILIES = {
    "invoice": "transaction",
    "creditMemo": "transaction",
    "customerPayment": "transaction",
    "customerRefund": "transaction",
    "customerDeposit": "transaction",
    "depositApplication": "transaction",
    "journalEntry": "transaction",
    "currencyRevaluation": "transaction",
}
TRAN_TYPES = {
    "invoice": "CustInvc",
    "creditMemo": "CustCred",
    "customerPayment": "CustPymt",
    "customerRefund": "CustRfnd",
    "customerDeposit": "CustDep",
    "depositApplication": "DepAppl",
    "journalEntry": "Journal",
    "currencyRevaluation": "FxReval",
}
TRAN_NAMES = {
    "invoice": "Invoice",
    "creditMemo": "Credit Memo",
    "customerPayment": "Payment",
    "customerRefund": "Customer Refund",
    "customerDeposit": "Customer Deposit",
    "depositApplication": "Deposit Application",
    "journalEntry": "Journal",
    "currencyRevaluation": "Currency Revaluation",
}


def family(type_: str) -> str:
    """The id space of a record type."""
    return FAMILIES.get(type_, type_)


@dataclass(eq=False)
class Record:
    """Any record. `fields` holds what was written and has no place of its own. Times are technical."""

    type: str
    id: str
    created: datetime
    modified: datetime
    external_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Line:
    """An item line or a journal line. Amounts in minor units of the document; a journal's debit is positive."""

    line: int
    amount: int
    item: str | None = None
    account: str | None = None
    quantity: Decimal | None = None
    rate: Decimal | None = None
    entity: str | None = None
    department: str | None = None
    tax_reference: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class TaxDetail:
    """One line of a document's tax details: amount in minor units, rate in percent."""

    reference: str
    code: str
    type: str
    basis: int
    rate: Decimal
    amount: int
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Application:
    """`amount` (document currency) of `applier` settles `target`. What each side thereby loses of its carrying
    amount in functional currency; the difference is realised."""

    id: int
    applier: str
    target: str
    amount: int
    applier_functional: int
    target_functional: int
    on: date


@dataclass
class Posting:
    """A general-ledger line, debit positive: `amount` in the document's currency, `functional` in the subsidiary's."""

    line: int
    account: str
    amount: int
    functional: int
    memo: str | None = None


@dataclass(eq=False)
class Document(Record):
    """A transaction. `total` and `functional` are the gross amount, positive, in document and functional currency."""

    number: str = ""
    subsidiary: str = ""
    entity: str | None = None
    currency: str = ""
    rate: Decimal = Decimal(1)
    on: date = date.min
    period: str = ""
    account: str | None = None
    receivables: str = "1100"
    lines: list[Line] = field(default_factory=list)
    taxes: list[TaxDetail] = field(default_factory=list)
    tax_override: bool = False
    total: int = 0
    functional: int = 0
    approval: str = "2"
    gl: list[Posting] = field(default_factory=list)
    applies: list[Application] = field(default_factory=list)  # what this document settles
    applied: list[Application] = field(default_factory=list)  # what settles this document

    @property
    def open_amount(self) -> int:
        """What is still unsettled, whichever side this document stands on."""
        return self.total - sum(a.amount for a in self.applied) - sum(a.amount for a in self.applies)

    @property
    def open_functional(self) -> int:
        """The carrying amount of what is unsettled."""
        used = sum(a.target_functional for a in self.applied) + sum(
            a.applier_functional for a in self.applies
        )
        return self.functional - used


class State:
    """All records by family and id, with the counters. Writes happen inside `atomic()`."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Record]] = defaultdict(dict)
        self.external: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        self.counters: dict[str, int] = defaultdict(int)
        self.changed: set[tuple[str, str]] = set()  # (family, id) that the query tables have not seen yet
        self.rates: dict[tuple[str, str], list[tuple[date, Decimal]]] = defaultdict(list)
        self._undo: list[tuple[Record, dict[str, Any] | None]] | None = None

    # -- reading --------------------------------------------------------------------------------------------------
    def find(self, type_: str, id_: str) -> Record | None:
        """A record by type and internal id; a transaction of another type is not found."""
        found = self.records[family(type_)].get(id_)
        return found if found is not None and found.type == type_ else None

    def get(self, type_: str, id_: str) -> Record:
        """As `find`, for what is known to exist."""
        found = self.find(type_, id_)
        if found is None:
            raise LookupError(f"no {type_} {id_}")
        return found

    def by_external_id(self, type_: str, external_id: str) -> list[Record]:
        """All records of the type's family with this external id, oldest first."""
        return sorted(self.external[family(type_)].get(external_id, ()), key=lambda r: int(r.id))

    def of_type(self, type_: str) -> list[Record]:
        """All records of a type in the order of their creation."""
        return [record for record in self.records[family(type_)].values() if record.type == type_]

    def documents(self) -> Iterator[Document]:
        """Every transaction in the order of creation."""
        for record in list(self.records["transaction"].values()):
            if isinstance(record, Document):
                yield record

    def document(self, id_: str) -> Document:
        """A transaction by id. Raises LookupError."""
        found = self.records["transaction"].get(id_)
        if isinstance(found, Document):
            return found
        raise LookupError(f"no transaction {id_}")

    def next(self, counter: str, start: int = 1) -> int:
        """The next number of a counter, at least `start`."""
        self.counters[counter] = max(self.counters[counter] + 1, start)
        return self.counters[counter]

    # -- writing --------------------------------------------------------------------------------------------------
    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Everything touched or added inside is put back if an exception leaves the block."""
        if self._undo is not None:
            yield
            return
        self._undo = []
        counters = dict(self.counters)
        try:
            yield
        except BaseException:
            # A refused document takes no number; its internal id stays taken.
            for name in [name for name in self.counters if name.startswith("number/")]:
                self.counters[name] = counters.get(name, 0)
            for record, before in reversed(self._undo):
                self._forget(record, keep=before is not None)
                if before is not None:
                    record.__dict__.update(before)
                    self._remember(record)
            raise
        finally:
            self._undo = None

    def touch(self, record: Record, now: datetime | None = None) -> None:
        """Say that a record is about to change; `now` becomes its last change."""
        if self._undo is not None and not any(known is record for known, _ in self._undo):
            self._undo.append((record, copy.deepcopy(record.__dict__)))
        if now is not None:
            record.modified = now
        self.changed.add((family(record.type), record.id))

    def add(self, record: Record) -> None:
        """Keep a new record."""
        if self._undo is not None:
            self._undo.append((record, None))
        self._remember(record)

    def remove(self, record: Record) -> None:
        """Delete a record."""
        self.touch(record)
        self._forget(record)

    def rename(self, record: Record, external_id: str | None) -> None:
        """Give a record another external id (it must have been touched)."""
        self._forget(record, keep=True)
        record.external_id = external_id
        self._remember(record)

    def _remember(self, record: Record) -> None:
        space = family(record.type)
        self.records[space][record.id] = record
        if record.external_id is not None:
            known = self.external[space][record.external_id]
            if not any(other is record for other in known):
                known.append(record)
        self.changed.add((space, record.id))

    def _forget(self, record: Record, *, keep: bool = False) -> None:
        space = family(record.type)
        if not keep:
            self.records[space].pop(record.id, None)
        if record.external_id is not None:
            known = self.external[space][record.external_id]
            known[:] = [other for other in known if other is not record]
        self.changed.add((space, record.id))
