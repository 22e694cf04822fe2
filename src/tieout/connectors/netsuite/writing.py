"""Making documents: `Writer.send`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec

from tieout.canonical.outcome import (
    Confirmed,
    Failure,
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
    JournalWrite,
    PaymentWrite,
    Postable,
    RefundWrite,
    Write,
)
from tieout.connectors.contract import Keys
from tieout.connectors.http import BadBody, decode_json
from tieout.connectors.netsuite import outbound
from tieout.connectors.netsuite.client import eid
from tieout.connectors.netsuite.codes import UnknownCode
from tieout.connectors.netsuite.looking import Looking, kind_of
from tieout.connectors.netsuite.mapping import (
    RECORD,
    day,
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
from tieout.connectors.netsuite.wire import Structs
from tieout.ports import Response, TransportError, retry_after

UPSERT = "replace=addressBook,currencyList"


class Prepared(msgspec.Struct, frozen=True):
    """One write, ready to go."""

    method: str
    path: str
    body: Mapping[str, object]


class Writing(Looking):
    """`send` of the connection's `Writer`."""

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
                await table.check_amounts(write.currency, outbound.amounts_minor(write))
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
                return Prepared("POST", self._document_path(write), body)
            case PaymentWrite() | RefundWrite():
                await table.check_amounts(write.currency, outbound.amounts_minor(write))
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
            case JournalWrite():
                await table.check_amounts(write.currency, outbound.amounts_minor(write))
                lines = write.journal
                ids = outbound.Ids(
                    currencies=await table.ids("currency", {write.currency}),
                    accounts=await table.ids("account", {line.account for line in lines}),
                    departments=await table.ids("department", {line.department for line in lines}),
                    period=await self._period_id(write.posting_period),
                )
                body = outbound.journal_body(write, keys.document, ids)
                return Prepared("POST", RECORD["journal"], body)
            case ApproveWrite():
                path = f"{RECORD[write.kind]}/{write.document}"
                return Prepared("PATCH", path, {"approvalStatus": outbound.reference("2")})
            case _:
                refused = Rejected(code="UNKNOWN_OPERATION", message=f"no {type(write).__name__} in an ERP")
                raise Failure(refused)

    def _document_path(self, write: DocumentWrite) -> str:
        """Where a document is made: where the account is so configured, a credit memo out of the one invoice that it
        settles. Lines, taxes and applications are still the write's alone."""
        if self.config.transform_credits and write.kind == "credit_memo" and len(write.applies_to) == 1:
            return f"invoice/{write.applies_to[0][0]}/!transform/creditMemo?replace=item,taxDetails,apply"
        return RECORD[write.kind]

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
        held = self.config.approval_of(write) != "off"
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
            if not is_period or not isinstance(write, Postable):
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
        if isinstance(write, Postable):
            return write.entity, write.day, write.posting_period
        if isinstance(write, ApproveWrite):
            path = f"{RECORD[write.kind]}/{write.document}"
            document = await self.client.fetch(Structs.transaction, path, operation="period_of")
            entity = self.config.entity(document.subsidiary.key if document.subsidiary else "")
            period = document.posting_period.key if document.posting_period else ""
            return entity, day(document.tran_date), period
        raise NotFound("no period")


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
