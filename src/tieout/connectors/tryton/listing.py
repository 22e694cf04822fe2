"""Listings for reconciliation, from the server's own documents and its own general ledger: `Lister`, `LedgerReader`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import LedgerBalance, ListedDocument
from tieout.connectors.tryton.mapping import (
    INVOICE,
    KEY,
    KIND,
    MOVE,
    REASON,
    SOURCE,
    WHY,
    describe,
    described,
    external_id,
    internal_id,
    invoice_day,
    invoice_kind,
    map_state,
    minor,
)
from tieout.connectors.tryton.reading import Reading
from tieout.connectors.tryton.settling import LINE_FIELDS, TITLE
from tieout.connectors.tryton.wire import Row

RECEIVABLES = ("invoice", "credit_memo", "payment", "refund")
KINDS = (*RECEIVABLES, "journal")
INVOICES = [
    "number",
    "state",
    "total_amount",
    "tax_amount",
    "amount_to_pay",
    "invoice_date",
    "accounting_date",
    "description",
    "reference",
    "move",
    "move.period",
]
MOVES = ["number", "state", "date", "period", "description"]
# How a document moves receivables.
RECEIVABLES_SIGN = {"invoice": 1, "credit_memo": -1, "payment": -1, "refund": 1}
Nets = dict[int, dict[int, int]]
Settled = dict[str, tuple[tuple[str, int], ...]]


class Listing(Reading):
    """`Lister` and `LedgerReader` of the connection."""

    async def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        """Every `invoice`, `credit_memo`, `payment`, `refund` or `journal` of ours of every company, oldest first per
        company. Raises Failure, ValueError."""
        if kind not in KINDS:
            raise ValueError(f"no documents of kind {kind!r}; known: {', '.join(sorted(KINDS))}")
        for company in await self.companies():
            if kind in ("invoice", "credit_memo"):
                async for document in self._invoice_documents(kind, company):
                    yield document
            elif kind == "journal":
                async for document in self._journals(company):
                    yield document
            else:
                async for document in self._move_documents(kind, company):
                    yield document

    async def _pages(
        self, model: str, domain: list[Any], fields: list[str], operation: str
    ) -> AsyncIterator[list[Row]]:
        """Pages by a growing id: nothing shifts between them."""
        after = 0
        while True:
            rows = await self.client.rows(
                model, [*domain, ["id", ">", after]], fields, limit=self.config.page_size, operation=operation
            )
            if rows:
                yield rows
                last = int(rows[-1]["id"])
                if last <= after:
                    raise Failure(Transient(reason="a page of the listing repeats"))
                after = last
            if len(rows) < self.config.page_size:
                return

    # -- invoices and credit notes ----------------------------------------------------------------------------------
    async def _invoice_documents(self, kind: str, company: str) -> AsyncIterator[ListedDocument]:
        currency = await self.code_tables.currency(company)
        domain = [["company", "=", int(company)], ["type", "=", "out"]]
        async for rows in self._pages("account.invoice", domain, INVOICES, f"list.{kind}"):
            ours = [row for row in rows if invoice_kind(row) == kind]
            nets, _ = await self._nets([row["move"] for row in ours if row.get("move")], currency)
            settled: Settled = {}
            if kind == "credit_memo":
                settled = await self._settled(
                    [external_id(INVOICE, int(row["id"])) for row in ours], currency
                )
            for row in ours:
                yield await self._invoice(kind, row, company, currency, nets, settled)

    async def _invoice(
        self, kind: str, row: Row, company: str, currency: str, nets: Nets, settled: Settled
    ) -> ListedDocument:
        id, day = external_id(INVOICE, int(row["id"])), invoice_day(row)
        if day is None:
            raise Failure(Transient(reason=f"{kind} {id} has no date"))
        # The ledger's own period: what was moved behind everybody's back must show here.
        posted_in = (row.get("move.") or {}).get("period")
        period = await self._period(company, posted_in) if posted_in else await self.period_on(company, day)
        status = _status(row)
        return ListedDocument(
            id=id,
            number=str(row.get("number") or ""),
            kind=kind,
            entity=self.config.entity(company),
            currency=currency,
            total_minor=abs(minor(row.get("total_amount"), currency)),
            tax_minor=abs(minor(row.get("tax_amount"), currency)),
            day=day,
            status=status,
            document_key=str(row.get("reference") or ""),
            source=described(row, SOURCE),
            reason=described(row, REASON),
            period=period.name if period else "",
            period_start=period.start if period else None,
            open_minor=abs(minor(row.get("amount_to_pay"), currency)),
            posted=status == "posted",
            settled=settled.get(id, ()),
            accounts=await self._named(nets.get(row.get("move") or 0, {}), company),
        )

    # -- payments and refunds ---------------------------------------------------------------------------------------
    async def _move_documents(self, kind: str, company: str) -> AsyncIterator[ListedDocument]:
        """Whatever stands in the cash journal and moves receivables, whoever made it."""
        currency = await self.code_tables.currency(company)
        journal = await self.code_tables.id("journal", self.config.cash_journal, company)
        receivables = await self.code_tables.receivables(company)
        domain = [["company", "=", int(company)], ["journal", "=", journal]]
        async for rows in self._pages("account.move", domain, MOVES, f"list.{kind}"):
            nets, lines = await self._nets([row["id"] for row in rows], currency)
            shares = {
                int(row["id"]): sum(
                    net for id, net in nets.get(int(row["id"]), {}).items() if id in receivables
                )
                for row in rows
            }
            sign = RECEIVABLES_SIGN[kind]
            ours = [row for row in rows if shares[int(row["id"])] * sign > 0]
            names = [external_id(MOVE, int(row["id"])) for row in ours]
            settled = (
                await self._settled(names, currency) if kind == "payment" else _named_by(lines, currency)
            )
            for row in ours:
                total = abs(shares[int(row["id"])])
                yield await self._move(kind, row, company, currency, total, nets, settled)

    # -- journals ---------------------------------------------------------------------------------------------------
    async def _journals(self, company: str) -> AsyncIterator[ListedDocument]:
        """Moves that carry our mark, whoever made them, in whatever journal."""
        currency = await self.code_tables.currency(company)
        mark = f"%{describe('', 'journal', '')}%"
        domain = [["company", "=", int(company)], ["description", "like", mark]]
        async for rows in self._pages("account.move", domain, MOVES, "list.journal"):
            ours = [row for row in rows if described(row, KIND) == "journal"]
            nets, lines = await self._nets([row["id"] for row in ours], currency)
            debits: dict[int, int] = defaultdict(int)
            for line in lines:
                debits[int(line["move"])] += minor(line["debit"], currency)
            for row in ours:
                total = debits[int(row["id"])]
                yield await self._move("journal", row, company, currency, total, nets, {})

    async def _move(
        self, kind: str, row: Row, company: str, currency: str, total: int, nets: Nets, settled: Settled
    ) -> ListedDocument:
        id, parts = external_id(MOVE, int(row["id"])), settled.get(external_id(MOVE, int(row["id"])), ())
        period = await self._period(company, row.get("period"))
        status = _status(row)
        left = total - sum(amount for _, amount in parts) if kind == "payment" else 0
        return ListedDocument(
            id=id,
            number=str(row.get("number") or ""),
            kind=kind,
            entity=self.config.entity(company),
            currency=currency,
            total_minor=total,
            tax_minor=0,
            day=row["date"],
            status=status,
            document_key=described(row, KEY) if described(row, KIND) == kind else "",
            source=described(row, SOURCE),
            reason=described(row, WHY) if kind == "journal" else "",
            period=period.name if period else "",
            period_start=period.start if period else None,
            open_minor=max(0, left),
            posted=status == "posted",
            settled=parts,
            accounts=await self._named(nets.get(int(row["id"]), {}) if status == "posted" else {}, company),
        )

    # -- the ledger's own lines -------------------------------------------------------------------------------------
    async def _nets(self, moves: list[int], currency: str) -> tuple[Nets, list[Row]]:
        """Net per account of each move, debit positive, and the lines themselves."""
        nets: Nets = defaultdict(lambda: defaultdict(int))
        fields = ["move", "account", "debit", "credit", "description"]
        lines = (
            await self.client.rows(
                "account.move.line", [["move", "in", moves]], fields, operation="list.lines"
            )
            if moves
            else []
        )
        for line in lines:
            amount = minor(line["debit"], currency) - minor(line["credit"], currency)
            nets[int(line["move"])][int(line["account"])] += amount
        return nets, lines

    async def _named(self, nets: dict[int, int], company: str) -> tuple[tuple[str, int, int], ...]:
        """(account, document currency, functional currency): one and the same here."""
        found = [
            (await self.code_tables.code("account", account, company), amount, amount)
            for account, amount in nets.items()
            if amount
        ]
        return tuple(sorted(found))

    async def _settled(self, origins: list[str], currency: str) -> Settled:
        """What each document settles by posted moves, for as long as these are tied to their invoices."""
        if not origins:
            return {}
        references = [f"account.{'invoice' if one[:1] == INVOICE else 'move'},{one[1:]}" for one in origins]
        moves = await self.client.rows(
            "account.move",
            [["origin", "in", references], ["description", "=", TITLE], ["state", "=", "posted"]],
            ["origin"],
            operation="list.applications",
        )
        names = dict(zip(references, origins, strict=True))
        origin_of = {int(move["id"]): names[str(move["origin"])] for move in moves}
        lines = (
            await self.client.rows(
                "account.move.line",
                [["move", "in", list(origin_of)]],
                LINE_FIELDS,
                operation="list.applications",
            )
            if origin_of
            else []
        )
        sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for line in lines:
            origin = origin_of[int(line["move"])]
            invoice = line.get("invoice_payment")
            name = external_id(INVOICE, int(invoice)) if invoice else ""
            if name and name != origin:
                sums[origin][name] += minor(line["credit"], currency) - minor(line["debit"], currency)
        return {origin: _parts(found) for origin, found in sums.items()}

    async def _period(self, company: str, id: object) -> AccountingPeriod | None:
        for seconds in (None, 0):
            periods = await self.known_periods(company, younger_than_seconds=seconds)
            if found := next((one for one in periods if one.id == str(id)), None):
                return found
        return None

    # -- the trial balance ------------------------------------------------------------------------------------------
    async def balances(self) -> tuple[LedgerBalance, ...]:
        """The server's own balances: per company, period and account, debit positive, posted moves alone; beside a
        receivables account, the sum of the documents. Raises Failure."""
        found: list[LedgerBalance] = []
        for company in await self.companies():
            found += await self._company_balances(company)
        return tuple(found)

    async def _company_balances(self, company: str) -> list[LedgerBalance]:
        currency = await self.code_tables.currency(company)
        receivables = await self.code_tables.receivables(company)
        documents = await self._subledger(company)
        accounts = {
            int(row["id"]): code
            for code, row in (await self.code_tables.table("account", company)).rows.items()
        }
        found = []
        for period in await self.known_periods(company, younger_than_seconds=0):
            rows = await self.client.read(
                "model.account.account.read",
                sorted(accounts),
                ["balance"],
                operation="list.balances",
                company=int(company),
                periods=[int(period.id)],
                posted=True,
            )
            for row in rows:
                balance, control = minor(row["balance"], currency), int(row["id"]) in receivables
                subledger = documents.get(period.name, 0) if control else None
                if balance or subledger:
                    found.append(
                        LedgerBalance(
                            entity=self.config.entity(company),
                            period=period.name,
                            account=accounts[int(row["id"])],
                            currency=currency,
                            balance_minor=balance,
                            subledger_minor=subledger,
                        )
                    )
        return found

    async def _subledger(self, company: str) -> dict[str, int]:
        """Receivables by the documents, per period. (One receivables account per company.)"""
        sums: dict[str, int] = defaultdict(int)
        for kind in RECEIVABLES:
            source = self._invoice_documents if kind in ("invoice", "credit_memo") else self._move_documents
            async for document in source(kind, company):
                if document.posted:
                    sums[document.period] += RECEIVABLES_SIGN[kind] * document.total_minor
        return sums


def _status(row: Row) -> str:
    state = map_state(str(row.get("state")))
    return f"pending {row.get('state')}" if state == "pending" else state


def _parts(found: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, amount) for name, amount in found.items() if amount > 0))


def _named_by(lines: Iterable[Row], currency: str) -> Settled:
    """What refunds settle: the documents that their own lines name."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in lines:
        name = str(line.get("description") or "")
        if internal_id(name, INVOICE, MOVE) is not None:
            amount = minor(line["debit"], currency) - minor(line["credit"], currency)
            sums[external_id(MOVE, int(line["move"]))][name] += amount
    return {move: _parts(found) for move, found in sums.items()}
