"""Making documents and finding them again: `Writer`. Created is not posted: posting is an operation of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    FindOutcome,
    Found,
    Inconclusive,
    Misconfigured,
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
from tieout.connectors.contract import Keys, OperationTraits, World, conclusive_at
from tieout.connectors.tryton import outbound
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.codes import UnknownCode
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.mapping import (
    INVOICE,
    MOVE,
    describe,
    external_id,
    map_invoice_receipt,
    map_move_receipt,
)
from tieout.connectors.tryton.posting import INVOICE_FIELDS, MOVE_FIELDS, Posting, period_closed

# How long a posting is repeated before it is looked up instead: the server never forgets what is posted.
REPEATABLE_SECONDS = 86_400


def traits(config: TrytonConfig) -> dict[str, OperationTraits]:
    """The facts about each operation. The server keeps nothing of ours unique but a party's code."""
    customer = OperationTraits(
        uniqueness="atomic",
        longest_seconds=config.longest_seconds,
        visibility_seconds=config.visibility_seconds,
        timeout_seconds=config.timeout_seconds,
    )
    create = msgspec.structs.replace(customer, uniqueness="search_only", two_phase=True)
    kinds = ("invoice", "credit_memo", "payment", "refund", "journal")
    return {
        "customer.create": customer,
        **{f"{kind}.create": create for kind in kinds},
        # Posting twice is posting once, and each step of settling looks first: out of a doubt it is sent again at once.
        **{
            f"{kind}.post": msgspec.structs.replace(
                customer, settles=kind in ("credit_memo", "refund"), idempotency_seconds=REPEATABLE_SECONDS
            )
            for kind in kinds
        },
    }


def kind_of(write: Write) -> str:
    """The kind of document that a write makes or posts. ValueError for one that is not the ERP's."""
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


class Writing(Posting):
    """`Writer` of the connection."""

    def __init__(self, name: str, config: TrytonConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.operations: Mapping[str, OperationTraits] = traits(config)
        self._addresses: dict[str, tuple[datetime, int]] = {}

    # -- send -----------------------------------------------------------------------------------------------------
    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        """Make the document as a draft that carries our document key, or post one. Never raises for an answer."""
        if operation not in self.operations:
            return Rejected(
                code="UNKNOWN_OPERATION", message=f"this connection has no operation {operation!r}"
            )
        try:
            match write:
                case CustomerWrite():
                    return await self._make_party(write, keys)
                case DocumentWrite():
                    return await self._make_invoice(write, keys)
                case PaymentWrite() | RefundWrite() | JournalWrite():
                    return await self._make_move(write, keys)
                case ApproveWrite():
                    return await self.post(write, keys)
                case _:
                    return Rejected(code="UNKNOWN_OPERATION", message=f"no {type(write).__name__} in an ERP")
        except (UnknownCode, Failure, NotDone) as error:
            return error.outcome

    async def _make_party(self, write: CustomerWrite, keys: Keys) -> SendOutcome:
        company = await self._allowed(write.subsidiary)
        terms = await self.code_tables.id("terms", write.terms, company) if write.terms else None
        body = outbound.party_body(write, keys.document, terms)
        try:
            made = await self.client.write(
                "model.party.party.create",
                [body],
                operation="customer.create",
                lane=keys.effect,
                company=int(company),
            )
        except NotDone as error:
            if isinstance(error.outcome, Rejected):
                return await self._code_taken(write, keys, error.outcome)
            raise
        return Confirmed(receipt=Receipt(external_id=str(made[0]), number=write.source.id))

    async def _code_taken(self, write: CustomerWrite, keys: Keys, refused: Rejected) -> SendOutcome:
        """Whether a refusal is that of a second party under our code: ours is there, or somebody else's."""
        parties = await self._parties(write, keys)
        if parties:
            return Confirmed(receipt=parties[0], replayed=True)
        taken = await self.client.rows(
            "party.party",
            [["code", "=", write.source.id], ["active", "in", [True, False]]],
            ["name"],
            operation="find.customer",
        )
        if not taken:
            return refused
        message = (
            f"the code {write.source.id} is that of party {taken[0]['id']}, which is not ours: give that one another"
            f" code there, or add {keys.document} to its identifiers if it is the same customer"
        )
        return Rejected(code="CODE_TAKEN", message=message)

    async def _allowed(self, company: str) -> str:
        """A company that the user may see. Raises Failure."""
        if company not in await self.companies():
            message = f"company {company or '(none)'} is not one of those that the user may see"
            remedy = (
                f"add it to the companies of {self.config.username} there, or correct the entity's subsidiary"
            )
            raise Failure(
                Misconfigured(
                    scope="mapping",
                    key=f"{self.name}|subsidiary|{company}",
                    message=message,
                    remedy=remedy,
                )
            )
        return company

    async def _make_invoice(self, write: DocumentWrite, keys: Keys) -> SendOutcome:
        company = await self._allowed(write.subsidiary)
        await self._own_currency(write, company)
        remembered = write.customer in self._addresses
        address = await self._address_of(write.customer)
        ids = await self._ids_of(write, company, address)
        day, _ = await self._booked_on(write, company)
        body = outbound.invoice_body(
            write, keys.document, ids, int(write.customer), day=day, dating=self.config.dating
        )
        try:
            async with self.poster(company):
                made = await self.client.write(
                    "model.account.invoice.create",
                    [body],
                    operation=f"{write.kind}.create",
                    lane=keys.effect,
                    company=int(company),
                )
        except NotDone as error:
            if not remembered or not isinstance(error.outcome, Rejected):
                raise
            # The address may not be theirs any more; refused, nothing was made.
            del self._addresses[write.customer]
            return await self._make_invoice(write, keys)
        return Confirmed(receipt=Receipt(external_id=external_id(INVOICE, int(made[0])), posted=False))

    async def _make_move(self, write: PaymentWrite | RefundWrite | JournalWrite, keys: Keys) -> SendOutcome:
        company = await self._allowed(write.subsidiary)
        await self._own_currency(write, company)
        table, codes = self.code_tables, {line.account for line in write.journal}
        accounts = {code: await table.row("account", code, company) for code in sorted(codes)}
        ids = outbound.Ids(
            company=int(company),
            currency=await table.id("currency", write.currency, company),
            journal=await table.id("journal", self._journal(write), company),
            accounts={code: int(row["id"]) for code, row in accounts.items()},
            parties=frozenset(code for code, row in accounts.items() if row.get("party_required")),
        )
        day, period = await self._booked_on(write, company)
        if isinstance(write, JournalWrite):
            body = outbound.journal_body(write, keys.document, ids, day=day, period=int(period.id))
        else:
            body = outbound.cash_body(
                write, keys.document, ids, int(write.customer), day=day, period=int(period.id)
            )
        try:
            async with self.poster(company):
                made = await self.client.write(
                    "model.account.move.create",
                    [body],
                    operation=f"{kind_of(write)}.create",
                    lane=keys.effect,
                    company=int(company),
                )
        except NotDone as error:
            if isinstance(error.outcome, Rejected):
                # The period may have been closed since it was read: then it is the period's, and no document's fault.
                await self.known_periods(company, younger_than_seconds=0)
                await self._booked_on(write, company)
            raise
        return Confirmed(receipt=Receipt(external_id=external_id(MOVE, int(made[0])), posted=False))

    def _journal(self, write: Postable) -> str:
        config = self.config
        return config.general_journal if isinstance(write, JournalWrite) else config.cash_journal

    # -- what a document needs ------------------------------------------------------------------------------------
    async def _own_currency(self, write: Postable, company: str) -> None:
        """Documents in another currency than the company's own are not made yet. Raises Failure."""
        currency = await self.code_tables.currency(company)
        if write.currency != currency:
            message = f"company {company} keeps books in {currency}: documents in {write.currency} are not supported"
            raise Failure(Rejected(code="FOREIGN_CURRENCY", message=message))

    async def _address_of(self, customer: str) -> int | None:
        """The first address of an active party, as known for at most `codes_seconds`: what has changed since shows in
        the read-back, before anything is posted. Raises Failure."""
        now = self.client.http.now()
        known = self._addresses.get(customer)
        if known is not None and now - known[0] < timedelta(seconds=self.config.codes_seconds):
            return known[1]
        self._addresses.pop(customer, None)
        rows = await self.client.rows(
            "party.party",
            [["id", "=", int(customer) if customer.isdigit() else -1], ["active", "in", [True, False]]],
            ["active", "addresses"],
            operation="party",
        )
        if not rows:
            raise Failure(Rejected(code="NO_PARTY", message=f"there is no party {customer}"))
        if not rows[0].get("active"):
            message = f"party {customer} is not active: activate it there, then retry"
            raise Failure(Rejected(code="INACTIVE_PARTY", message=message))
        if not rows[0].get("addresses"):
            message = f"party {customer} has no active address to invoice: add one there, then retry"
            raise Failure(Rejected(code="NO_ADDRESS", message=message))
        address = int(rows[0]["addresses"][0])
        self._addresses[customer] = (now, address)
        return address

    async def _ids_of(self, write: DocumentWrite, company: str, address: int | None) -> outbound.Ids:
        table = self.code_tables
        accounts = {line.account for line in write.lines}
        taxes = {tax.code for line in write.lines for tax in line.taxes}
        departments = {line.department for line in write.lines if line.department}
        column = "invoice_account" if write.kind == "invoice" else "credit_note_account"
        rows = {code: await table.row("tax_code", code, company) for code in sorted(taxes)}
        return outbound.Ids(
            company=int(company),
            currency=await table.id("currency", write.currency, company),
            journal=await table.id("journal", self.config.revenue_journal, company),
            accounts={code: await table.id("account", code, company) for code in sorted(accounts)},
            taxes={code: int(row["id"]) for code, row in rows.items()},
            tax_accounts={code: int(row[column]) for code, row in rows.items()},
            departments={code: await table.row("department", code, company) for code in sorted(departments)},
            receivable=await self._receivable(write, company),
            address=address,
        )

    async def _receivable(self, write: DocumentWrite, company: str) -> int:
        """The receivables account that the journal names. Raises UnknownCode, Failure."""
        receivables = await self.code_tables.receivables(company)
        named = sorted({line.account for line in write.journal})
        for code in named:
            id = await self.code_tables.id("account", code, company)
            if id in receivables:
                return id
        if not named and receivables:
            return min(receivables)
        raise UnknownCode("account", f"receivables account among {', '.join(named)}", company, self.name)

    async def _booked_on(self, write: Postable, company: str) -> tuple[date, AccountingPeriod]:
        """The day of the books and its period: the document's own day, or the first of an approved period. Raises
        Failure for a period that is not open, which is asked before anything is made."""
        day, period = write.day, None
        for seconds in (None, 0):
            periods = await self.known_periods(company, younger_than_seconds=seconds)
            if write.posting_period:
                period = next((one for one in periods if write.posting_period in (one.id, one.name)), None)
                day = period.start if period else write.day
            else:
                period, day = await self.period_on(company, write.day), write.day
            if period is not None and period.status == "open":
                return day, period
        raise Failure(period_closed(write.entity, day, period))

    # -- find -----------------------------------------------------------------------------------------------------
    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        """Look the document up by our key; a posting by what stands there."""
        facts = self.operations.get(operation) or self.operations["invoice.create"]
        absent = Absent(conclusive_at=conclusive_at(sent_at, facts))
        try:
            match write:
                case CustomerWrite():
                    found = await self._parties(write, keys)
                case DocumentWrite():
                    found = await self._invoices(write, keys)
                case PaymentWrite() | RefundWrite() | JournalWrite():
                    found = await self._moves(write, keys)
                case ApproveWrite():
                    found = await self.posted(write)
                case _:
                    found = []
        except Failure as error:
            outcome = error.outcome
            at = outcome.retry_at if isinstance(outcome, Transient | RateLimited) else None
            reason = outcome.reason if isinstance(outcome, Transient | RateLimited) else outcome.message
            return Inconclusive(reason=reason, ask_again_at=at)
        if not found:
            return absent
        return Found(receipt=found[0], others=tuple(one.external_id for one in found[1:]))

    async def _parties(self, write: CustomerWrite, keys: Keys) -> list[Receipt]:
        domain = [["identifiers.code", "=", keys.document], ["active", "in", [True, False]]]
        rows = await self.client.rows("party.party", domain, ["code"], operation="find.customer")
        del write
        return [Receipt(external_id=str(row["id"]), number=str(row.get("code") or "")) for row in rows]

    async def _invoices(self, write: DocumentWrite, keys: Keys) -> list[Receipt]:
        domain = [["reference", "=", keys.document], ["type", "=", "out"], ["state", "!=", "cancelled"]]
        rows = await self.client.rows(
            "account.invoice", domain, INVOICE_FIELDS, operation=f"find.{write.kind}"
        )
        return [map_invoice_receipt(row, write.currency) for row in rows]

    async def _moves(self, write: PaymentWrite | RefundWrite | JournalWrite, keys: Keys) -> list[Receipt]:
        kind = kind_of(write)
        domain = [["description", "like", f"{describe(keys.document, kind)}%"]]
        rows = await self.client.rows("account.move", domain, MOVE_FIELDS, operation=f"find.{kind}")
        return [map_move_receipt(row, None, write.currency) for row in rows]
