"""Listings for reconciliation: `Lister` and `LedgerReader`.

Pages are keyed by the internal id: the vendor shows at most 100,000 rows of one query, and rows shift between pages
that are numbered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.money import exponent
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import LedgerBalance, ListedDocument
from tieout.connectors.netsuite.client import text
from tieout.connectors.netsuite.codes import MISS_SECONDS
from tieout.connectors.netsuite.mapping import RECEIVABLES_SIGN, TYPE, map_accounts, map_listed, minor
from tieout.connectors.netsuite.reading import Reading
from tieout.connectors.netsuite.wire import Row

DOCUMENTS = (
    "SELECT t.id, t.tranid, t.externalid, t.custbody_tieout_source, t.custbody_tieout_reason,"
    " t.status, t.approvalstatus, t.posting, t.voided,"
    " TO_CHAR(t.trandate, 'YYYY-MM-DD') AS day, t.postingperiod, t.foreigntotal, t.foreignamountunpaid,"
    " t.foreignpaymentamountunused, c.symbol, tl.subsidiary FROM transaction t"
    " JOIN transactionline tl ON tl.transaction = t.id AND tl.mainline = 'T'"
    " JOIN currency c ON c.id = t.currency"
    " WHERE t.type = {type} AND t.id > {{after}} ORDER BY t.id"
)
# Those that carry our mark, whoever made them: what people book by themselves is theirs.
JOURNALS = (
    "SELECT t.id, t.tranid, t.externalid, t.custbody_tieout_source, t.custbody_tieout_reason,"
    " t.status, t.approvalstatus, t.posting, t.voided,"
    " TO_CHAR(t.trandate, 'YYYY-MM-DD') AS day, t.postingperiod, c.symbol FROM transaction t"
    " JOIN currency c ON c.id = t.currency"
    " WHERE t.type = {type} AND t.custbody_tieout_source IS NOT NULL AND t.id > {{after}} ORDER BY t.id"
)
TAXES = (
    "SELECT tl.transaction, SUM(tl.foreignamount) AS tax FROM transactionline tl"
    " JOIN transaction t ON t.id = tl.transaction"
    " WHERE t.type = {type} AND tl.taxline = 'T' AND t.id >= {first} AND t.id <= {last} GROUP BY tl.transaction"
)
# The ledger's own lines, not the document's: what was booked elsewhere than the item says must show here.
ACCOUNTS = (
    "SELECT tl.transaction, a.acctnumber, SUM(tl.foreignamount) AS amount, SUM(tal.amount) AS functional"
    " FROM transactionaccountingline tal"
    " JOIN transaction t ON t.id = tal.transaction"
    " JOIN transactionline tl ON tl.transaction = tal.transaction AND tl.id = tal.transactionline"
    " JOIN account a ON a.id = tal.account"
    " WHERE t.type = {type} AND tal.posting = 'T'{book} AND t.id >= {first} AND t.id <= {last}"
    " GROUP BY tl.transaction, a.acctnumber ORDER BY tl.transaction, a.acctnumber"
)
# An application joins what is settled (previous) to what settles it (next).
APPLICATIONS = (
    "SELECT nextdoc, previousdoc, SUM(foreignamount) AS amount FROM nexttransactionlinelink"
    " WHERE linktype = 'Payment' AND nextdoc >= {first} AND nextdoc <= {last} GROUP BY nextdoc, previousdoc"
)
LEDGER = (
    "SELECT tl.subsidiary, t.postingperiod, a.acctnumber, a.accttype, SUM(tal.amount) AS amount"
    " FROM transactionaccountingline tal"
    " JOIN transaction t ON t.id = tal.transaction"
    " JOIN transactionline tl ON tl.transaction = tal.transaction AND tl.id = tal.transactionline"
    " JOIN account a ON a.id = tal.account"
    " WHERE tal.posting = 'T'{book} GROUP BY tl.subsidiary, t.postingperiod, a.acctnumber, a.accttype"
    " ORDER BY tl.subsidiary, t.postingperiod, a.acctnumber"
)
SUBLEDGER = (
    "SELECT t.id, t.type, t.postingperiod, t.foreigntotal, t.exchangerate, c.symbol, tl.subsidiary"
    " FROM transaction t JOIN transactionline tl ON tl.transaction = t.id AND tl.mainline = 'T'"
    " JOIN currency c ON c.id = t.currency"
    " WHERE t.type IN ('CustInvc', 'CustCred', 'CustPymt', 'CustRfnd', 'DepAppl') AND t.posting = 'T'"
    " AND t.id > {after} ORDER BY t.id"
)
RECEIVABLES = "AcctRec"
Settled = dict[str, list[tuple[str, Decimal]]]


class Listing(Reading):
    """`Lister` and `LedgerReader` of the connection."""

    async def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        """Every `invoice`, `credit_memo`, `payment`, `refund` or `journal` of ours, oldest first. Raises Failure,
        ValueError."""
        if kind not in TYPE:
            raise ValueError(f"no documents of kind {kind!r}; known: {', '.join(sorted(TYPE))}")
        query = (JOURNALS if kind == "journal" else DOCUMENTS).format(type=text(TYPE[kind]))
        async for rows in self.client.listing(query, "id", operation=f"list.{kind}"):
            first, last = int(rows[0]["id"]), int(rows[-1]["id"])
            accounts = await self._accounts(kind, first, last)
            taxes: dict[str, object] = {}
            settled: Settled = {}
            if kind in ("invoice", "credit_memo"):
                taxes = await self._taxes(kind, first, last)
            if kind == "journal":
                totals = await self.journal_totals([str(row["id"]) for row in rows])
                for row in rows:
                    row["foreigntotal"], row["subsidiary"] = totals.get(str(row["id"]), (None, ""))
            elif kind != "invoice":
                settled = await self._applications(first, last)
            for row in rows:
                yield await self._listed(kind, row, taxes, settled, accounts.get(str(row["id"]), []))

    async def _listed(
        self, kind: str, row: Row, taxes: dict[str, object], settled: Settled, accounts: list[Row]
    ) -> ListedDocument:
        id = str(row["id"])
        subsidiary = str(row.get("subsidiary") or "")
        period = await self._period(str(row.get("postingperiod") or ""))
        try:
            return map_listed(
                kind,
                row,
                entity=self.config.entity(subsidiary),
                tax=taxes.get(id, 0),
                period=period,
                settled=tuple(
                    (document, abs(minor(part, str(row["symbol"])))) for document, part in settled.get(id, ())
                ),
                accounts=map_accounts(
                    accounts, str(row["symbol"]), self.config.currencies.get(subsidiary, "")
                ),
            )
        except (KeyError, ValueError, ArithmeticError):
            raise Failure(
                Transient(reason=f"{kind} {id}: an amount, date or currency that is none")
            ) from None

    async def _taxes(self, kind: str, first: int, last: int) -> dict[str, object]:
        query = TAXES.format(type=text(TYPE[kind]), first=first, last=last)
        rows = await self.client.query(query, operation="list.taxes")
        return {str(row["transaction"]): row.get("tax") for row in rows}

    async def _accounts(self, kind: str, first: int, last: int) -> dict[str, list[Row]]:
        """Ledger lines of an id range by document, summed by account; none of a document that is not posted."""
        query = ACCOUNTS.format(type=text(TYPE[kind]), book=self._book(), first=first, last=last)
        found: dict[str, list[Row]] = {}
        for row in await self.client.query(query, operation="list.accounts"):
            found.setdefault(str(row["transaction"]), []).append(row)
        return found

    def _book(self) -> str:
        """The condition that one accounting book alone is counted, where there are several."""
        book = self.config.accounting_book
        return f" AND tal.accountingbook = {book}" if book else ""

    async def _applications(self, first: int, last: int) -> Settled:
        """What each document of an id range settles: (document, amount in its currency)."""
        rows = await self.client.query(
            APPLICATIONS.format(first=first, last=last), operation="list.applications"
        )
        found: Settled = {}
        for row in rows:
            part = abs(Decimal(str(row.get("amount") or 0)))
            if part:
                found.setdefault(str(row["nextdoc"]), []).append((str(row["previousdoc"]), part))
        for parts in found.values():
            parts.sort(key=lambda part: int(part[0]))
        return found

    async def _period(self, id: str) -> AccountingPeriod | None:
        for seconds in (None, MISS_SECONDS):
            periods = await self.known_periods(younger_than_seconds=seconds)
            if found := next((period for period in periods if period.id == id), None):
                return found
            if not id:
                return None
        return None

    async def balances(self) -> tuple[LedgerBalance, ...]:
        """The trial balance: movements per entity, period and account in the functional currency (debit positive);
        beside a receivables account, the sum of the documents. Raises Failure."""
        rows = await self.client.query(LEDGER.format(book=self._book()), operation="list.balances")
        subledger = await self._subledger()
        balances = []
        for row in rows:
            subsidiary, period_id = str(row.get("subsidiary") or ""), str(row.get("postingperiod") or "")
            currency = self._functional(subsidiary)
            period = await self._period(period_id)
            control = row.get("accttype") == RECEIVABLES
            balances.append(
                LedgerBalance(
                    entity=self.config.entity(subsidiary),
                    period=period.name if period else period_id,
                    account=str(row.get("acctnumber") or ""),
                    currency=currency,
                    balance_minor=minor(row.get("amount"), currency),
                    subledger_minor=subledger.get((subsidiary, period_id), 0) if control else None,
                )
            )
        return tuple(balances)

    async def _subledger(self) -> dict[tuple[str, str], int]:
        """Receivables by the documents, per (subsidiary, period), in functional minor units.

        What settles another document leaves receivables at that document's rate (the difference is realised FX and
        no receivable); what is left over, at its own."""
        documents: dict[str, Row] = {}
        settled: Settled = {}
        async for rows in self.client.listing(SUBLEDGER, "id", operation="list.subledger"):
            documents.update((str(row["id"]), row) for row in rows)
            settled.update(await self._applications(int(rows[0]["id"]), int(rows[-1]["id"])))
        carried = {id: _Carried.of(row, self._functional(_subsidiary(row))) for id, row in documents.items()}
        whole = {id: one.functional_minor for id, one in carried.items()}
        sums: dict[tuple[str, str], int] = {}
        for id, row in documents.items():
            # Its own amount, whatever others have settled of it by now: a payment may have a lower id than its invoice.
            amount_minor = whole[id]
            for document, part in settled.get(id, ()):
                if document in carried:
                    amount_minor += carried[document].take(part) - carried[id].take(part)
            key = (_subsidiary(row), str(row.get("postingperiod") or ""))
            sums[key] = sums.get(key, 0) + RECEIVABLES_SIGN[str(row["type"])] * amount_minor
        return sums

    def _functional(self, subsidiary: str) -> str:
        """The functional currency of a subsidiary as configured. Raises Failure."""
        currency = self.config.currencies.get(subsidiary)
        if currency is None:
            remedy = f"currencies.{subsidiary} of {self.name}"
            raise Failure(
                self.client.http.blocked(f"no functional currency for subsidiary {subsidiary}: {remedy}")
            )
        return currency


def _subsidiary(row: Row) -> str:
    return str(row.get("subsidiary") or "")


@dataclass(slots=True)
class _Carried:
    """What is left of a document, and the functional amount that it is carried at.

    A part takes its share of what is carried, not its own conversion: three thirds of a document must give back exactly
    what the whole one brought into receivables, or the account is a cent off for ever."""

    open: Decimal
    functional_minor: int

    @classmethod
    def of(cls, row: Row, currency: str) -> _Carried:
        total = abs(Decimal(str(row.get("foreigntotal") or 0)))
        rate = Decimal(str(row.get("exchangerate") or 1))
        return cls(total, _half_up((total * rate).scaleb(exponent(currency))))

    def take(self, part: Decimal) -> int:
        """Settle a part; answers its share of the carried amount."""
        share = _half_up(self.functional_minor * part / self.open) if self.open else 0
        self.open -= part
        self.functional_minor -= share
        return share


def _half_up(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))
