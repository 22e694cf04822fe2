"""The real ERP's books read by themselves: what it says, over its own API, of its own documents and its own ledger.

Nothing of the hub, of billing or of the CRM is asked. Each document's ledger lines are compared with what the posting
table says of one of its kind, and all documents together with the server's own trial balance.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from tieout_lab.tryton.rpc import Rpc

BANK, CLEARING, RECEIVABLES, TAX, DEFERRED, REVENUE, BAD_DEBT = (
    "1000", "1050", "1100", "2200", "2400", "4000", "6500",
)  # fmt: skip
# The rows that the demo's business leads to. It has no downgrade; a total of nothing makes no document, by the
# entities' declared rule; a balance that is used is an application; each company is invoiced in its own currency;
# the demo has no payouts and no disputes; revenue schedules are not posted yet.
ROWS = frozenset({
    "invoice finalised", "credit memo issued", "void", "charge succeeded", "wire, cheque, lockbox",
    "application, unapplication", "refund", "write-off (uncollectible)",
})  # fmt: skip
_PERIOD = re.compile(r"\((\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d|open)\)$")
# Rendered at once by the company's own rule, whatever period billing prints on its line.
_AT_ONCE = "Onboarding"
Nets = Mapping[str, Decimal]


class Ledger:
    """One company as its own server shows it."""

    def __init__(self, rpc: Rpc, company: int) -> None:
        self.rpc = rpc
        self.company = company
        of_company = [["company", "=", company]]
        accounts = rpc.rows("account.account", of_company, ["code"])
        self.codes: dict[int, str] = {row["id"]: row["code"] for row in accounts}
        periods = rpc.rows("account.period", of_company, ["start_date", "end_date"])
        self.periods = {row["id"]: (row["start_date"], row["end_date"]) for row in periods}
        fields = ["date", "period", "state", "number", "origin", "description", "journal.type"]
        self.moves = {row["id"]: row for row in rpc.rows("account.move", of_company, fields)}
        self.lines: dict[int, list[dict[str, Any]]] = defaultdict(list)
        of_moves = [["move.company", "=", company]]
        for line in rpc.rows("account.move.line", of_moves, ["move", "account", "debit", "credit", "party"]):
            self.lines[line["move"]].append(line)
        self.invoices = rpc.rows(
            "account.invoice",
            [*of_company, ["type", "=", "out"]],
            [
                *("state", "number", "reference", "description", "accounting_date", "move", "total_amount"),
                *("lines.account", "lines.amount", "lines.description", "taxes.amount", "taxes.account"),
            ],
        )
        self.shown: Counter[str] = Counter()

    def nets(self, move: int) -> dict[str, Decimal]:
        """Net per account of a move, debit positive; accounts of nothing are left out."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for line in self.lines[move]:
            found[self.codes[line["account"]]] += line["debit"] - line["credit"]
        return {account: amount for account, amount in found.items() if amount}

    def check(self) -> Counter[str]:
        """Every document against its row of the posting table, and their sum against the trial balance. Answers how
        often each row was shown. Raises AssertionError."""
        by_source: dict[str, dict[str, Any]] = {}
        for invoice in self.invoices:
            _, reason, source = invoice["description"].split(" | ")
            assert invoice["state"] in ("posted", "paid"), invoice
            assert self.moves[invoice["move"]]["date"] == invoice["accounting_date"], invoice
            if reason == "finalised":
                by_source[source] = invoice
        credited = {
            one["description"].split(" | ")[0]
            for one in self.invoices
            if " | credited | " in one["description"]
        }
        for invoice in self.invoices:
            number, reason, source = invoice["description"].split(" | ")
            self._document(invoice, reason, by_source.get(source), partly=number in credited)
        of_invoices = {invoice["move"] for invoice in self.invoices}
        for id, move in self.moves.items():
            if move["state"] != "posted":
                # A request of a settlement that came late: it moves nothing, and is nobody's document.
                assert move["description"].startswith("Application"), move
                continue
            assert sum(self.nets(id).values()) == 0, move
            start, end = self.periods[move["period"]]
            assert start <= move["date"] <= end, move
            if id not in of_invoices:
                self._money(id, move)
        self._trial_balance()
        keys = [invoice["reference"] for invoice in self.invoices]
        assert len(set(keys)) == len(keys)
        return self.shown

    # -- the rows ---------------------------------------------------------------------------------------------------
    def _document(
        self, invoice: dict[str, Any], reason: str, original: dict[str, Any] | None, *, partly: bool
    ) -> None:
        nets = self.nets(invoice["move"])
        total = invoice["total_amount"]
        assert nets[RECEIVABLES] == total, invoice
        taxes = [tax["amount"] for tax in invoice["taxes."]]
        of_tax = [
            line["credit"] - line["debit"]
            for line in self.lines[invoice["move"]]
            if self.codes[line["account"]] == TAX
        ]
        # One line per jurisdiction and code.
        assert sorted(of_tax) == sorted(taxes), invoice
        match reason:
            case "finalised":
                assert total > 0
                assert nets == _of_lines(self, invoice, {RECEIVABLES: total, TAX: -sum(taxes)}), invoice
                for line in invoice["lines."]:
                    _recognised(line, self.codes[line["account"]], invoice["accounting_date"])
                self.shown["invoice finalised"] += 1
            case "credited":
                assert total < 0
                assert nets == _of_lines(self, invoice, {RECEIVABLES: total, TAX: -sum(taxes)}), invoice
                assert nets.keys() <= {RECEIVABLES, TAX, DEFERRED, REVENUE}
                self.shown["credit memo issued"] += 1
            case "voided":
                assert original is not None
                there = self.nets(original["move"])
                assert nets.keys() <= there.keys()
                reversal = {account: -amount for account, amount in there.items()}
                assert partly or nets == reversal, (invoice, reversal)
                assert invoice["accounting_date"] >= original["accounting_date"]
                self.shown["void"] += 1
            case "written_off":
                assert nets[BAD_DEBT] > 0 > total
                assert nets.keys() <= {RECEIVABLES, BAD_DEBT, TAX}
                self.shown["write-off (uncollectible)"] += 1
            case _:
                raise AssertionError(f"no row of the posting table for {reason!r}: {invoice}")

    def _money(self, id: int, move: dict[str, Any]) -> None:
        nets = self.nets(id)
        if move["journal."]["type"] != "cash":
            # One receivables document settles another: no account's balance moves.
            assert nets == {}, move
            assert {self.codes[line["account"]] for line in self.lines[id]} == {RECEIVABLES}, move
            assert len({line["party"] for line in self.lines[id]}) == 1, move
            self.shown["application, unapplication"] += 1
            return
        _, kind, source, *_ = move["description"].split(" | ")
        (where,) = nets.keys() - {RECEIVABLES}
        assert where in (BANK, CLEARING), move
        assert (nets[where] > 0) is (kind == "payment"), move
        if kind == "refund":
            self.shown["refund"] += 1
            return
        # A charge is named by the gateway; a wire is what billing was told of.
        assert (where == CLEARING) is source.startswith("pi_"), move
        self.shown["charge succeeded" if where == CLEARING else "wire, cheque, lockbox"] += 1

    def _trial_balance(self) -> None:
        """The server's own balances are the sum of the moves looked at, account by account and period by period."""
        wanted: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
        for id, move in self.moves.items():
            for account, amount in self.nets(id).items() if move["state"] == "posted" else ():
                wanted[move["period"], account] += amount
        found = {}
        for period in {move["period"] for move in self.moves.values()}:
            rows = self.rpc.do(
                "account.account.read", list(self.codes), ["balance"], company=self.company, periods=[period],
                posted=True,
            )  # fmt: skip
            found |= {(period, self.codes[row["id"]]): row["balance"] for row in rows if row["balance"]}
        assert found == {place: amount for place, amount in wanted.items() if amount}


def _of_lines(ledger: Ledger, invoice: dict[str, Any], others: Nets) -> dict[str, Decimal]:
    """Net per account as the document's own lines name it, beside what is not theirs."""
    found: dict[str, Decimal] = defaultdict(Decimal, others)
    for line in invoice["lines."]:
        found[ledger.codes[line["account"]]] -= line["amount"]
    return {account: amount for account, amount in found.items() if amount}


def _recognised(line: dict[str, Any], account: str, day: date) -> None:
    """Deferred is the net of lines with a service period that ends after the accounting date; all else is revenue."""
    found = _PERIOD.search(line["description"])
    later = found is not None and (found[2] == "open" or date.fromisoformat(found[2]) > day)
    deferred = later and _AT_ONCE not in line["description"]
    assert account == (DEFERRED if deferred else REVENUE), (line, day)


def check_books(rpc: Rpc) -> Counter[str]:
    """Every company of the server; answers how often each row of the posting table was shown."""
    shown: Counter[str] = Counter()
    for row in rpc.rows("company.company", [], ["rec_name"]):
        shown += Ledger(rpc.company(row["id"]), row["id"]).check()
    assert shown.keys() <= ROWS
    return shown
