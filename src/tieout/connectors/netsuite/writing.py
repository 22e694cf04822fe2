"""Making documents and finding them again: `Writer`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import msgspec

from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    FindOutcome,
    Found,
    Inconclusive,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentWrite,
    PaymentWrite,
    RefundWrite,
    Write,
)
from tieout.connectors.contract import Keys, OperationTraits, World, conclusive_at
from tieout.connectors.http import BadBody, decode_json, retry_after
from tieout.connectors.netsuite import outbound
from tieout.connectors.netsuite.catalogue import Catalogue
from tieout.connectors.netsuite.client import eid, text
from tieout.connectors.netsuite.codes import UnknownCode
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.mapping import (
    RECORD,
    TYPE,
    day,
    map_receipt,
    map_row_status,
    minor,
    period_of,
)
from tieout.connectors.netsuite.refusals import (
    CATCH_ALL,
    CHANGED_MEANWHILE,
    CONCURRENCY,
    DUPLICATE,
    PERIOD_CLOSED,
    Refusal,
    refusal,
    speaks_of_period,
)
from tieout.connectors.netsuite.wire import Row, Structs, Transaction
from tieout.ports import Response, TransportError

Posting = DocumentWrite | PaymentWrite | RefundWrite
UPSERT = "replace=addressBook,currencyList"


class Prepared(msgspec.Struct, frozen=True):
    """One write, ready to go."""

    method: str
    path: str
    body: Mapping[str, object]


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
    # Approving twice is approving once.
    approve = msgspec.structs.replace(create, uniqueness="atomic")
    return {
        "customer.create": create,
        "invoice.create": held,
        "credit_memo.create": held,
        "payment.create": create,
        "refund.create": create,
        "invoice.post": approve,
        "credit_memo.post": approve,
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
        case _:
            raise ValueError(f"not a write of an ERP: {type(write).__name__}")


class Writing(Catalogue):
    """`Writer` of the connection."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.operations: Mapping[str, OperationTraits] = traits(config)

    # -- send -----------------------------------------------------------------------------------------------------
    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        """Make the document, carrying our document key as its external id. Never raises for a vendor's answer."""
        if operation not in self.operations:
            return Rejected(
                code="UNKNOWN_OPERATION", message=f"this connection has no operation {operation!r}"
            )
        try:
            prepared = await self._prepare(write, keys)
            response = await self.client.write(
                prepared.method, prepared.path, prepared.body, operation=operation, lane=keys.effect
            )
        except (UnknownCode, Failure) as error:
            return error.outcome
        except TransportError as error:
            return self.client.http.send_failed(error)
        if 200 <= response.status < 300:
            return self._made(write, response)
        said = refusal(response)
        if said.code in DUPLICATE and not isinstance(write, ApproveWrite):
            return await self._replayed(write, keys, said)
        return await self.refused(write, response, said)

    async def _prepare(self, write: Write, keys: Keys) -> Prepared:
        """Method, path and body. Raises UnknownCode, Failure."""
        table = self.code_tables
        match write:
            case CustomerWrite():
                ids = outbound.Ids(
                    currencies=await table.ids("currency", set(write.currencies)),
                    terms=await table.ids("terms", {write.terms}),
                )
                path = f"customer/{eid(keys.document)}?{UPSERT}"
                return Prepared("PUT", path, outbound.customer_body(write, ids))
            case DocumentWrite():
                taxes = {tax.code for line in write.lines for tax in line.taxes}
                items = await table.ids("item", {line.item for line in write.lines})
                for line in write.lines:
                    await table.check_item(line.item, line.account, items[line.item])
                ids = outbound.Ids(
                    currencies=await table.ids("currency", {write.currency}),
                    items=items,
                    departments=await table.ids("department", {line.department for line in write.lines}),
                    tax_codes=await table.ids("tax_code", taxes),
                    tax_types=await table.tax_types(taxes),
                    terms=await table.ids("terms", {write.terms}),
                    period=await self._period_id(write.posting_period),
                )
                body = outbound.document_body(write, keys.document, ids, self.config)
                return Prepared("POST", RECORD[write.kind], body)
            case PaymentWrite() | RefundWrite():
                ids = outbound.Ids(
                    currencies=await table.ids("currency", {write.currency}),
                    accounts=await table.ids("account", {write.account}),
                    period=await self._period_id(write.posting_period),
                )
                if isinstance(write, PaymentWrite):
                    return Prepared(
                        "POST", RECORD["payment"], outbound.payment_body(write, keys.document, ids)
                    )
                return Prepared(
                    "POST", RECORD["refund"], outbound.refund_body(write, keys.document, ids, self.config)
                )
            case ApproveWrite():
                path = f"{RECORD[write.kind]}/{write.document}"
                return Prepared("PATCH", path, {"approvalStatus": outbound.reference("2")})
            case _:
                refused = Rejected(code="UNKNOWN_OPERATION", message=f"no {type(write).__name__} in an ERP")
                raise Failure(refused)

    async def _period_id(self, name: str) -> str:
        """The internal id of a period given by id or by name; empty stays empty. Raises UnknownCode, Failure."""
        if not name:
            return ""
        for period in await self.known_periods():
            if name in (period.id, period.name):
                return period.id
        raise UnknownCode("period", name, self.name)

    def _made(self, write: Write, response: Response) -> SendOutcome:
        if isinstance(write, ApproveWrite):
            if response.status == 204 or is_json(response):
                return Confirmed(receipt=Receipt(external_id=write.document, posted=True))
            return OutcomeUnknown(reason=f"{response.status} without the documented answer")
        made = location_id(response)
        if not made or response.status == 202:
            return OutcomeUnknown(reason=f"{response.status} without the document's Location")
        # Posted on save, unless the account holds it for approval: the read-back tells.
        held = isinstance(write, DocumentWrite) and self.config.approval.get(write.subsidiary, "off") != "off"
        return Confirmed(receipt=Receipt(external_id=made, posted=not held))

    async def _replayed(self, write: Write, keys: Keys, said: Refusal) -> SendOutcome:
        """A second document under our external id was refused: ours is there, or is just being made."""
        try:
            receipt = await self._by_key(kind_of(write), keys)
        except Failure as error:
            return OutcomeUnknown(reason=f"{said.code}, and the look-up did not succeed: {error.outcome}")
        if receipt is None:
            return OutcomeUnknown(reason=f"{said.code}, but nothing under our key yet")
        return Confirmed(receipt=receipt, replayed=True)

    async def refused(self, write: Write | None, response: Response, said: Refusal) -> SendOutcome:
        """What a refusal means for a write (None: for an assign, which no period refuses)."""
        at = retry_after(response, self.client.http.now())
        if said.code in CHANGED_MEANWHILE:
            return Transient(reason=said.code, retry_at=at)
        if said.code in CONCURRENCY:
            return RateLimited(reason=said.code, retry_at=at)
        if response.status == 503 and said.documented:
            # The vendor's own "not now"; a gateway's page says nothing about the work behind it.
            return Transient(reason=f"503 {said.code}".strip(), retry_at=at)
        if write is not None and response.status == 400:
            closed = await self._closed_period(write, said)
            if closed is not None:
                return closed
        if isinstance(write, ApproveWrite) and response.status == 403:
            # The role may not approve: this document waits for a person there, the connection is sound.
            return Rejected(code=said.code or "403", message=said.message)
        if response.status in (400, 404):
            self.code_tables.forget()
        return self.client.http.send_status(response, said.code, said.message)

    async def _closed_period(self, write: Write, said: Refusal) -> Misconfigured | None:
        """Whether a refusal is the period's: by the vendor's code, then by the period itself, by its words last."""
        if said.code not in PERIOD_CLOSED and said.code not in CATCH_ALL:
            return None
        is_period = said.code in PERIOD_CLOSED or speaks_of_period(said.message)
        try:
            entity, day_, name = await self._books(write)
            periods = await self.known_periods(younger_than_seconds=0)
        except (Failure, NotFound):
            if not is_period or not isinstance(write, DocumentWrite | PaymentWrite | RefundWrite):
                return None
            entity, day_, name, periods = write.entity, write.day, "", ()
        period = next((one for one in periods if name and name in (one.id, one.name)), None)
        period = period or period_of(periods, day_)
        if not is_period and (said.code != "USER_ERROR" or period is None or period.status == "open"):
            return None
        return Misconfigured(
            scope="period",
            key=f"{entity}|{period.start if period else day_:%Y-%m}",
            message=f"the accounting period is closed: {said.message}",
            remedy="approve the release of the waiting documents into an open period",
        )

    async def _books(self, write: Write) -> tuple[str, date, str]:
        """Legal entity, day and asked-for period of a write (of a document that is approved: its own). Raises
        Failure, NotFound."""
        if isinstance(write, DocumentWrite | PaymentWrite | RefundWrite):
            return write.entity, write.day, write.posting_period
        if isinstance(write, ApproveWrite):
            path = f"{RECORD[write.kind]}/{write.document}"
            document = await self.client.fetch(Structs.transaction, path, operation="period_of")
            entity = self.config.entity(document.subsidiary.key if document.subsidiary else "")
            period = document.posting_period.key if document.posting_period else ""
            return entity, day(document.tran_date), period
        raise NotFound("no period")

    # -- find -----------------------------------------------------------------------------------------------------
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
            return await self._by_query(write, keys) or absent
        except Failure as error:
            outcome = error.outcome
            retry_at = outcome.retry_at if isinstance(outcome, Transient | RateLimited) else None
            return Inconclusive(reason=_reason(outcome), ask_again_at=retry_at)

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

    async def _by_query(self, write: Write, keys: Keys) -> Found | None:
        """All documents that are ours: under our key, and copies that lost it (no external id, but our source,
        amount and currency)."""
        if isinstance(write, CustomerWrite):
            rows = await self.client.query(
                "SELECT id, entityid, externalid FROM customer"
                f" WHERE externalid = {text(keys.document)}"
                f" OR (externalid IS NULL AND custentity_crm_account = {text(write.source.id)})",
                operation="find.customer",
            )
            keyed = [row for row in rows if row.get("externalid") == keys.document]
            found = _ordered(keyed) or _ordered(rows)
            receipts = [
                Receipt(external_id=str(row["id"]), number=str(row.get("entityid") or "")) for row in found
            ]
            return _found(receipts)
        if not isinstance(write, DocumentWrite | PaymentWrite | RefundWrite):
            return None
        kind = kind_of(write)
        rows = await self.client.query(
            "SELECT t.id, t.tranid, t.externalid, t.status, t.approvalstatus, t.posting, t.voided, t.foreigntotal,"
            " c.symbol FROM transaction t JOIN currency c ON c.id = t.currency"
            f" WHERE t.type = {text(TYPE[kind])} AND (t.externalid = {text(keys.document)}"
            f" OR (t.externalid IS NULL AND t.custbody_tieout_source = {text(write.source.id)}))",
            operation=f"find.{kind}",
        )
        total = write.total_minor if isinstance(write, DocumentWrite) else write.amount_minor
        keyed = _ordered([row for row in rows if row.get("externalid") == keys.document])
        bare = [row for row in rows if not row.get("externalid") and _is_copy(row, write.currency, total)]
        return _found([_row_receipt(kind, row) for row in [*keyed, *_ordered(bare)]])


def location_id(response: Response) -> str:
    """The internal id at the end of the Location header, or empty."""
    last = response.headers.get("location", "").rstrip("/").rpartition("/")[2]
    return last if last.isdigit() else ""


def is_json(response: Response) -> bool:
    """Whether the body is a JSON object."""
    try:
        return isinstance(decode_json(response.body), dict)
    except BadBody:
        return False


def _reason(outcome: Transient | RateLimited | Rejected | Misconfigured) -> str:
    return outcome.reason if isinstance(outcome, Transient | RateLimited) else outcome.message


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(row["id"]))


def _is_copy(row: Row, currency: str, total_minor: int) -> bool:
    return row.get("symbol") == currency and abs(minor(row.get("foreigntotal"), currency)) == total_minor


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
