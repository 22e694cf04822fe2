"""Posting a draft, and finding out what became of it. Created is not posted."""

from __future__ import annotations

import hashlib
from datetime import date

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Confirmed, Misconfigured, Receipt, Rejected, SendOutcome, Transient
from tieout.canonical.write import ApproveWrite
from tieout.connectors.contract import Keys, World
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.mapping import INVOICE, MOVE, internal_id, invoice_day
from tieout.connectors.tryton.settling import Settling
from tieout.connectors.tryton.wire import Row

INVOICE_FIELDS = [
    "number",
    "state",
    "party",
    "company",
    "account",
    "currency",
    "total_amount",
    "tax_amount",
    "invoice_date",
    "accounting_date",
    "payment_term_date",
    "description",
    "reference",
    "move",
]
MOVE_FIELDS = ["number", "state", "company", "date", "period", "description", "journal"]
# What a document says of itself when it is read back, its lines and its customer with it, in one call.
WHOLE = {
    "account.invoice": [
        *INVOICE_FIELDS,
        "party.active",
        "lines.account",
        "lines.amount",
        "taxes.tax",
        "taxes.amount",
    ],
    "account.move": [*MOVE_FIELDS, "lines.account", "lines.party", "lines.debit", "lines.credit"],
}
DRAFT = ("draft", "validated")
_MOST_DRAFTS = 1000


class Posting(Settling):
    """Base of the writer: the second half of making a document."""

    def __init__(self, name: str, config: TrytonConfig, world: World) -> None:
        super().__init__(name, config, world)
        # Drafts as they were read back a moment ago: what is posted next need not be looked at again.
        self._drafts: dict[str, Row] = {}

    async def post(self, write: ApproveWrite, keys: Keys) -> SendOutcome:
        """Post a draft, then settle what it settles. Posting what is posted changes nothing, and each step of settling
        looks first, so that the whole may be repeated. None but the calls that number or settle hold the poster."""
        row = self._drafts.pop(write.document, None) or await self.document_row(write.document)
        if row is None:
            return _vanished(write)
        company, model, id = str(row["company"]), *_record(write.document)
        if row.get("state") in DRAFT:
            try:
                await self._answer_before(row, company)
                async with self.poster(company):
                    await self.client.write(
                        f"model.{model}.post",
                        [id],
                        operation=f"{write.kind}.post",
                        lane=keys.effect,
                        company=int(company),
                    )
            except NotDone as error:
                return await self._post_refused(write, row, company, error)
            told = await self.document_row(write.document, ["number", "state"], operation="read_back")
            row = told or row
        if row.get("state") not in ("posted", "paid"):
            message = f"{write.kind} {write.document} is {row.get('state')} after posting"
            return Rejected(code="NOT_POSTED", message=message)
        if write.kind == "refund":
            async with self.poster(company):
                await self.settle_lines(id, company)
        elif write.kind == "credit_memo" and write.applies_to:
            async with self.poster(company):
                await self.settle(write.document, dict(write.applies_to), company)
        return Confirmed(
            receipt=Receipt(external_id=write.document, number=str(row.get("number") or ""), posted=True)
        )

    def remember_draft(self, external: str, row: Row) -> None:
        """A document as it was read back; only what is still to be posted is remembered."""
        if row.get("state") in DRAFT:
            while len(self._drafts) >= _MOST_DRAFTS:
                del self._drafts[next(iter(self._drafts))]
            self._drafts[external] = row

    async def _answer_before(self, row: Row, company: str) -> None:
        """Answer the one question that is sure to come, where it may be answered: whether an invoice that is due
        already is meant. Asked, it would roll back a whole posting first."""
        due, warning = row.get("payment_term_date"), "invoice_payment_term"
        past = isinstance(due, date) and due < self.client.http.now().date()
        if past and warning in self.config.warnings:
            # As the server names it: the hash of the record, then the question.
            record = hashlib.md5(f"account.invoice,{row['id']}".encode(), usedforsecurity=False).hexdigest()
            await self.client.write(
                "model.res.user.warning.skip",
                f"{record}.{warning}",
                False,
                operation="answer_warning",
                company=int(company),
            )

    async def _post_refused(self, write: ApproveWrite, row: Row, company: str, error: NotDone) -> SendOutcome:
        """A refused posting: by the period where that is shut, by what stands there where the server broke off, else by
        the server's words."""
        outcome = error.outcome
        if not isinstance(outcome, Rejected):
            return outcome
        now = await self.document_row(write.document)
        if now is None:
            return _vanished(write)
        if outcome.code == "exception":
            if now.get("state") in ("posted", "paid"):
                return Transient(reason=f"posted, then: {outcome.message}")
            return outcome
        day = invoice_day(row) if internal_id(write.document, INVOICE) is not None else row.get("date")
        if isinstance(day, date):
            periods = await self.known_periods(company, younger_than_seconds=0)
            period = next((one for one in periods if one.start <= day <= one.end), None)
            if period is None or period.status != "open":
                return period_closed(self.config.entity(company), day, period)
        message = (
            f"{outcome.message} (draft {write.document} stays as it is; mend the cause there, then retry)"
        )
        return Rejected(code=outcome.code, message=message)

    async def document_row(
        self, external: str, fields: list[str] | None = None, *, operation: str = "find.document"
    ) -> Row | None:
        """An invoice or a move by our name of it, or None. Raises Failure."""
        model, id = _record(external)
        if not id:
            return None
        wanted = fields or (INVOICE_FIELDS if model == "account.invoice" else MOVE_FIELDS)
        rows = await self.client.rows(model, [["id", "=", id]], wanted, operation=operation)
        return rows[0] if rows else None

    async def posted(self, write: ApproveWrite) -> list[Receipt]:
        """Posted, and what it settles settled; else it is to be posted again, which does what is missing."""
        row = await self.document_row(write.document)
        if row is None or row.get("state") not in ("posted", "paid"):
            return []
        if write.kind == "refund" and await self.untied(internal_id(write.document, MOVE) or 0):
            return []
        memo = write.kind == "credit_memo" and write.applies_to
        if memo and not await self.settles(write.document, dict(write.applies_to), str(row["company"])):
            return []
        return [Receipt(external_id=write.document, number=str(row.get("number") or ""), posted=True)]


def _vanished(write: ApproveWrite) -> Rejected:
    return Rejected(code="VANISHED", message=f"there is no {write.kind} {write.document}")


def _record(external: str) -> tuple[str, int]:
    """Model and id of a document by our name of it; the id is 0 for a name that is none."""
    invoice = internal_id(external, INVOICE)
    if invoice is not None:
        return "account.invoice", invoice
    return "account.move", internal_id(external, MOVE) or 0


def period_closed(entity: str, day: date, period: AccountingPeriod | None) -> Misconfigured:
    """What a posting into a period that is not open ends as."""
    said = f"period {period.name} is {period.status}" if period else f"there is no period for {day}"
    return Misconfigured(
        scope="period",
        key=f"{entity}|{period.start if period else day:%Y-%m}",
        message=f"the accounting period is closed: {said}",
        remedy="approve the release of the waiting documents into an open period",
    )
