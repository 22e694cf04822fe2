"""Looking documents up by our key, one or many: the half of `Writer` and `BulkWriter` that settles a doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from tieout.canonical.outcome import (
    Absent,
    Failure,
    FindOutcome,
    Found,
    Inconclusive,
    NotFound,
    RateLimited,
    Receipt,
    Transient,
)
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    Postable,
    RefundWrite,
    Write,
)
from tieout.connectors.contract import Keys, OperationTraits, World, conclusive_at
from tieout.connectors.netsuite.catalogue import Catalogue
from tieout.connectors.netsuite.client import eid, text
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.mapping import RECORD, TYPE, map_receipt, map_row_status, minor
from tieout.connectors.netsuite.wire import Row, Structs, Transaction

IN_LIST = 1000  # the vendor's limit of one IN list
CUSTOMERS = (
    "SELECT id, entityid, externalid, custentity_crm_account FROM customer"
    " WHERE externalid IN ({keys}) OR (externalid IS NULL AND custentity_crm_account IN ({sources}))"
)
DOCUMENTS = (
    "SELECT t.id, t.tranid, t.externalid, t.custbody_tieout_source, t.status, t.approvalstatus, t.posting, t.voided,"
    " t.foreigntotal, c.symbol FROM transaction t JOIN currency c ON c.id = t.currency"
    " WHERE t.type = {type} AND (t.externalid IN ({keys})"
    " OR (t.externalid IS NULL AND t.custbody_tieout_source IN ({sources})))"
)

JOURNAL_TOTALS = (
    "SELECT tl.transaction, tl.subsidiary, SUM(tl.debitforeignamount) AS total FROM transactionline tl"
    " WHERE tl.transaction IN ({ids}) GROUP BY tl.transaction, tl.subsidiary"
)


def traits(config: NetSuiteConfig) -> dict[str, OperationTraits]:
    """The facts about each operation. The idempotency key of the vendor counts for asynchronous calls only, so there
    is none here."""
    uniqueness = "atomic" if config.enforce_keys else "search_only"
    create = OperationTraits(
        uniqueness=uniqueness,
        longest_seconds=config.longest_seconds,
        visibility_seconds=config.visibility_seconds,
        timeout_seconds=config.timeout_seconds,
    )
    held = msgspec.structs.replace(create, two_phase=config.two_phase)
    journal = msgspec.structs.replace(create, two_phase=config.journal_approval != "off")
    # Approving twice is approving once.
    approve = msgspec.structs.replace(create, uniqueness="atomic")
    return {
        "customer.create": create,
        "invoice.create": held,
        "credit_memo.create": held,
        "payment.create": create,
        "refund.create": create,
        "journal.create": journal,
        "invoice.post": approve,
        "credit_memo.post": approve,
        "journal.post": approve,
    }


def kind_of(write: Write) -> str:
    """The kind of document that a write makes or approves. ValueError for one that is not the ERP's."""
    match write:
        case CustomerWrite():
            return "customer"
        case DocumentWrite() | ApproveWrite():
            return write.kind
        case PaymentWrite():
            return "payment"
        case RefundWrite():
            return "refund"
        case JournalWrite():
            return "journal"
        case _:
            raise ValueError(f"not a write of an ERP: {type(write).__name__}")


class Looking(Catalogue):
    """The look-ups of the connection."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.operations: Mapping[str, OperationTraits] = traits(config)

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        """Look the document up by our key: by external id where the account enforces it, else by query."""
        facts = self.operations.get(operation) or self.operations["invoice.create"]
        absent = Absent(conclusive_at=conclusive_at(sent_at, facts))
        try:
            if isinstance(write, ApproveWrite):
                return await self._find_approved(write) or absent
            if facts.uniqueness == "atomic":
                receipt = await self._by_key(kind_of(write), keys)
                if receipt is not None:
                    return Found(receipt=receipt)
            return (await self.by_query([(write, keys)])).get(keys.document) or absent
        except Failure as error:
            return _inconclusive(error)

    async def find_many(
        self, operation: str, items: Sequence[tuple[Write, Keys, datetime]]
    ) -> Mapping[str, FindOutcome]:
        """Look many documents of one operation up by one query; approvals, which carry no key, one by one."""
        facts = self.operations.get(operation) or self.operations["invoice.create"]
        answer: dict[str, FindOutcome] = {}
        asked: list[tuple[Write, Keys, datetime]] = []
        for write, keys, sent_at in items:
            if isinstance(write, ApproveWrite):
                answer[keys.document] = await self.find(operation, write, keys, sent_at)
            else:
                asked.append((write, keys, sent_at))
        for start in range(0, len(asked), IN_LIST):
            some = asked[start : start + IN_LIST]
            try:
                found = await self.by_query([(write, keys) for write, keys, _ in some])
            except Failure as error:
                answer.update((keys.document, _inconclusive(error)) for _, keys, _ in some)
                continue
            for _, keys, sent_at in some:
                absent = Absent(conclusive_at=conclusive_at(sent_at, facts))
                answer[keys.document] = found.get(keys.document) or absent
        return answer

    async def _find_approved(self, write: ApproveWrite) -> Found | None:
        receipt = await self.receipt(write.kind, write.document)
        return Found(receipt=receipt) if receipt is not None and receipt.posted else None

    async def receipt(self, kind: str, id: str) -> Receipt | None:
        """A document by its internal id or `eid:` segment, or None. Raises Failure."""
        try:
            if kind == "customer":
                customer = await self.client.fetch(
                    Structs.customer, f"customer/{id}", operation="find.customer"
                )
                return Receipt(external_id=str(customer.id), number=customer.entity_id)
            document = await self.client.fetch(
                Structs.transaction, f"{RECORD[kind]}/{id}", operation=f"find.{kind}"
            )
        except NotFound:
            return None
        return await self.as_receipt(kind, document)

    async def as_receipt(self, kind: str, document: Transaction) -> Receipt:
        """A record as a receipt. Raises Failure."""
        currency = await self.code_tables.code("currency", document.currency.key if document.currency else "")
        try:
            return map_receipt(kind, document, currency)
        except (ValueError, ArithmeticError):
            raise Failure(
                Transient(reason=f"a {kind} with an amount, date or currency that is none")
            ) from None

    async def _by_key(self, kind: str, keys: Keys) -> Receipt | None:
        return await self.receipt(kind, eid(keys.document))

    async def by_query(self, items: Sequence[tuple[Write, Keys]]) -> dict[str, Found]:
        """By document key, of writes of one kind: what stands under our key, and copies that lost it (no external id,
        but our source, amount and currency). At most `IN_LIST` of them. Raises Failure."""
        if not items:
            return {}
        kind = kind_of(items[0][0])
        listed = {
            "keys": ", ".join(text(keys.document) for _, keys in items),
            "sources": ", ".join(sorted({text(_source(write)) for write, _ in items})),
        }
        query = (
            CUSTOMERS.format(**listed)
            if kind == "customer"
            else DOCUMENTS.format(type=text(TYPE[kind]), **listed)
        )
        rows = _ordered(await self.client.query(query, operation=f"find.{kind}"))
        if kind == "journal" and rows:
            totals = await self.journal_totals([str(row["id"]) for row in rows])
            rows = [{**row, "foreigntotal": totals.get(str(row["id"]), (None, ""))[0]} for row in rows]
        found = {keys.document: _found(_receipts(kind, write, keys, rows)) for write, keys in items}
        return {key: one for key, one in found.items() if one is not None}

    async def journal_totals(self, ids: Sequence[str]) -> dict[str, tuple[object, str]]:
        """By id of a journal, the sum of its debits in its currency, and its subsidiary: it has no main line that would
        say. Raises Failure."""
        found: dict[str, tuple[object, str]] = {}
        for start in range(0, len(ids), IN_LIST):
            query = JOURNAL_TOTALS.format(ids=", ".join(ids[start : start + IN_LIST]))
            for row in await self.client.query(query, operation="find.journal_totals"):
                found[str(row["transaction"])] = (row.get("total"), str(row.get("subsidiary") or ""))
        return found


def _source(write: Write) -> str:
    """The source id that a record of ours carries. TypeError where it carries none."""
    if isinstance(write, ApproveWrite):
        raise TypeError("an approval makes no document")
    return write.source.id


def _receipts(kind: str, write: Write, keys: Keys, rows: list[Row]) -> list[Receipt]:
    """What is ours among the rows, by our key first."""
    keyed = [row for row in rows if row.get("externalid") == keys.document]
    bare = [row for row in rows if not row.get("externalid")]
    if isinstance(write, CustomerWrite):
        copies = [row for row in bare if row.get("custentity_crm_account") == write.source.id]
        return [
            Receipt(external_id=str(row["id"]), number=str(row.get("entityid") or ""))
            for row in keyed or copies
        ]
    if not isinstance(write, Postable):
        return []
    total = write.total_minor if isinstance(write, DocumentWrite) else write.amount_minor
    copies = [row for row in bare if _is_copy(row, write, total)]
    return [_row_receipt(kind, row) for row in [*keyed, *copies]]


def _inconclusive(error: Failure) -> Inconclusive:
    outcome = error.outcome
    if isinstance(outcome, Transient | RateLimited):
        return Inconclusive(reason=outcome.reason, ask_again_at=outcome.retry_at)
    return Inconclusive(reason=outcome.message)


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(row["id"]))


def _is_copy(row: Row, write: Postable, total_minor: int) -> bool:
    return (
        row.get("custbody_tieout_source") == write.source.id
        and row.get("symbol") == write.currency
        and abs(minor(row.get("foreigntotal"), write.currency)) == total_minor
    )


def _row_receipt(kind: str, row: Row) -> Receipt:
    currency = str(row["symbol"])
    return Receipt(
        external_id=str(row["id"]),
        number=str(row.get("tranid") or ""),
        posted=map_row_status(kind, row) == "posted",
        total_minor=abs(minor(row.get("foreigntotal"), currency)),
        currency=currency,
    )


def _found(receipts: list[Receipt]) -> Found | None:
    """The first document made, the others beside it."""
    if not receipts:
        return None
    return Found(receipt=receipts[0], others=tuple(one.external_id for one in receipts[1:]))
