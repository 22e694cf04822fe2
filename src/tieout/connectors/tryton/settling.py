"""What settles what: documents of one customer's receivables against each other.

The server has no apply list. A payment or credit note settles an invoice by a move of its own between two lines of the
receivables account, which changes no account's balance; its lines name the documents, and are tied to the invoices
among these as their payments. What sums to nothing is reconciled. Every step looks first, so that the whole may be
repeated after any interruption.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Misconfigured, Rejected
from tieout.connectors.tryton.catalogue import Catalogue
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.mapping import INVOICE, MOVE, external_id, internal_id, minor
from tieout.connectors.tryton.outbound import move_line
from tieout.connectors.tryton.wire import Row

TITLE = "Application"
TAKEN_BACK = "Application taken back"
LINE_FIELDS = [
    "move",
    "account",
    "party",
    "debit",
    "credit",
    "description",
    "invoice_payment",
    "reconciliation",
    "move_state",
    "date",
]
Lines = list[Row]


class Settling(Catalogue):
    """Base of the writer and of the assigner. Callers hold the company's poster."""

    async def settled(self, origin: str, company: str) -> dict[str, int]:
        """What a payment or credit note settles by posted moves: minor units by document. Raises Failure."""
        _, lines = await self._applications(origin)
        currency = await self.code_tables.currency(company)
        return _sums((one for one in lines if one["move_state"] == "posted"), origin, currency)

    async def settle(self, origin: str, wanted: Mapping[str, int], company: str) -> None:
        """Make what `origin` settles exactly this. Raises NotDone, Failure."""
        currency = await self.code_tables.currency(company)
        moves, lines = await self._applications(origin)
        posted = [one for one in lines if one["move_state"] == "posted"]
        missing = _difference(wanted, _sums(posted, origin, currency))
        if any(amount < 0 for amount in missing.values()):
            # A payment line may only lower its invoice: less is settled by taking all back and settling anew.
            await self._take_back([one for one in moves if one["state"] == "posted"], posted, company)
            missing, posted = {name: amount for name, amount in wanted.items() if amount}, []
        adopted = None
        for move in (one for one in moves if one["state"] == "draft"):
            of_move = [one for one in lines if one["move"] == move["id"]]
            if adopted is None and missing and _sums(of_move, origin, currency) == missing:
                adopted = int(move["id"])
            else:
                await self._write("model.account.move.delete", [move["id"]], company=company)
        if missing:
            move_id = adopted or await self._apply(origin, missing, company, currency)
            await self._write("model.account.move.post", [move_id], company=company)
            posted += await self._lines([["move", "=", move_id]])
        await self._tie_lines(posted, company)
        await self._reconcile([origin, *wanted], company)

    async def settle_lines(self, move: int, company: str) -> None:
        """Tie the lines of a posted refund to the documents that they name. Raises NotDone, Failure."""
        lines = await self._lines([["move", "=", move]])
        documents = [str(one["description"]) for one in lines if _names(one)]
        await self._tie_lines(lines, company)
        await self._reconcile(documents, company)

    async def untied(self, move: int) -> bool:
        """Whether a line of a posted refund is not yet a payment of the credit note that it names. Raises Failure."""
        return _loose(await self._lines([["move", "=", move]]))

    async def settles(self, origin: str, wanted: Mapping[str, int], company: str) -> bool:
        """Whether a document settles exactly this, every line tied to its invoice. Raises Failure."""
        currency = await self.code_tables.currency(company)
        _, lines = await self._applications(origin)
        posted = [one for one in lines if one["move_state"] == "posted"]
        return _sums(posted, origin, currency) == dict(wanted) and not _loose(posted)

    # -- moves ----------------------------------------------------------------------------------------------------
    async def _applications(self, origin: str) -> tuple[Lines, Lines]:
        """The moves by which a document settles others, and their lines; those that were taken back are gone."""
        moves = await self._settling_moves(
            [["origin", "=", _reference(origin)], ["description", "=", TITLE]],
            *(f"lines.{name}" for name in LINE_FIELDS),
        )
        if moves:
            back = await self._settling_moves(
                [
                    ["origin", "in", [f"account.move,{one['id']}" for one in moves]],
                    ["description", "=", TAKEN_BACK],
                    ["state", "=", "posted"],
                ]
            )
            gone = {one["origin"] for one in back}
            moves = [one for one in moves if f"account.move,{one['id']}" not in gone]
        return moves, [line for one in moves for line in one["lines."]]

    async def _settling_moves(self, domain: list[Any], *more: str) -> Lines:
        fields = ["state", "date", "period", "journal", "origin", *more]
        return await self.client.rows("account.move", domain, fields, operation="find.applications")

    async def _lines(self, domain: list[Any]) -> Lines:
        return await self.client.rows("account.move.line", domain, LINE_FIELDS, operation="find.applications")

    async def _apply(self, origin: str, missing: Mapping[str, int], company: str, currency: str) -> int:
        """A draft move that settles what is missing."""
        sides = await self._open_sides([origin, *sorted(missing)], company)
        head, days = sides[origin], [side["day"] for side in sides.values()]
        lines: list[Any] = []
        for document, amount in sorted(missing.items()):
            there = sides[document]
            lines.append(move_line(there["account"], -amount, currency, there["party"], document))
            lines.append(move_line(head["account"], amount, currency, head["party"], origin))
        day, period = await self._open_day(max(days), company)
        body = {
            "company": int(company),
            "journal": await self.code_tables.id("journal", self.config.settling_journal, company),
            "period": int(period.id),
            "date": day,
            "description": TITLE,
            "origin": _reference(origin),
            "lines": [["create", lines]],
        }
        made = await self._write("model.account.move.create", [body], company=company)
        return int(made[0])

    async def _open_sides(self, documents: list[str], company: str) -> dict[str, Row]:
        """Account, party and day of each document's receivables side. Raises Failure for one that is not there."""
        invoices, moves = _ids(documents, INVOICE), _ids(documents, MOVE)
        found: dict[str, Row] = {}
        if invoices:
            fields = ["account", "party", "accounting_date", "invoice_date"]
            domain = [["id", "in", invoices]]
            for row in await self.client.rows(
                "account.invoice", domain, fields, operation="find.applications"
            ):
                day = row.get("accounting_date") or row.get("invoice_date")
                side = {"account": row["account"], "party": row["party"], "day": day}
                found[external_id(INVOICE, int(row["id"]))] = side
        if moves:
            receivables = sorted(await self.code_tables.receivables(company))
            for line in await self._lines([["move", "in", moves], ["account", "in", receivables]]):
                side = {"account": line["account"], "party": line["party"], "day": line["date"]}
                found.setdefault(external_id(MOVE, int(line["move"])), side)
        for document in documents:
            if document not in found:
                message = f"there is no document {document} to settle"
                raise Failure(Rejected(code="NO_DOCUMENT", message=message))
        return found

    async def _open_day(self, day: date, company: str) -> tuple[date, AccountingPeriod]:
        """The first day from this one on in an open period: a settlement changes no balance of any period."""
        for seconds in (None, 0):
            for period in await self.known_periods(company, younger_than_seconds=seconds):
                if period.end >= day and period.status == "open":
                    return max(day, period.start), period
        message, remedy = f"no period from {day} on is open", "open one"
        raise Failure(
            Misconfigured(
                scope="period",
                key=f"{self.config.entity(company)}|{day:%Y-%m}",
                message=message,
                remedy=remedy,
            )
        )

    # -- ties and reconciliations ---------------------------------------------------------------------------------
    async def _tie_lines(self, lines: Lines, company: str) -> None:
        """Make each line that names an invoice or credit note one of its payment lines."""
        wanted: dict[int, list[int]] = defaultdict(list)
        for line in lines:
            invoice = internal_id(str(line.get("description") or ""), INVOICE)
            if invoice is not None and not line.get("invoice_payment"):
                wanted[invoice].append(int(line["id"]))
        pairs = [part for invoice, ids in sorted(wanted.items()) for part in ([invoice], _tied("add", ids))]
        if pairs:
            await self._write("model.account.invoice.write", *pairs, company=company)

    async def _reconcile(self, documents: Iterable[str], company: str) -> None:
        """Reconcile the open lines of each document where they sum to nothing."""
        sides = await self._sides(sorted(set(documents)), company)
        groups = [[one for one in lines if not one.get("reconciliation")] for lines in sides.values()]
        await self._reconcile_lines([one for one in groups if len(one) > 1 and not _balance(one)], company)

    async def _reconcile_lines(self, groups: list[Lines], company: str) -> None:
        """Reconcile each group of lines, which sum to nothing: by the server's own wizard, which alone may."""
        if not groups:
            return
        wizard = "wizard.account.move.reconcile_lines"
        session, *_ = await self._write(f"{wizard}.create", company=company)
        try:
            for ids in ([int(one["id"]) for one in lines] for lines in groups):
                active = {"active_model": "account.move.line", "active_id": ids[0], "active_ids": ids}
                await self._write(f"{wizard}.execute", session, {}, "start", company=company, **active)
        finally:
            # A session left over is the server's to clear.
            with contextlib.suppress(NotDone):
                await self._write(f"{wizard}.delete", session, company=company)

    async def _sides(self, documents: list[str], company: str) -> dict[str, Lines]:
        """The receivables lines of each document with all that settles it."""
        found: dict[str, Lines] = {document: [] for document in documents}
        if invoices := _ids(documents, INVOICE):
            parts = ("lines_to_pay", "payment_lines")
            fields = [f"{part}.{name}" for part in parts for name in LINE_FIELDS]
            domain = [["id", "in", invoices]]
            for row in await self.client.rows(
                "account.invoice", domain, fields, operation="find.applications"
            ):
                lines = [line for part in parts for line in row[f"{part}."]]
                found[external_id(INVOICE, int(row["id"]))] = lines
        if moves := _ids(documents, MOVE):
            receivables = sorted(await self.code_tables.receivables(company))
            names = [external_id(MOVE, id) for id in moves]
            ours = ["OR", ["move", "in", moves], ["description", "in", names]]
            for line in await self._lines(
                [["account", "in", receivables], ["move_state", "=", "posted"], ours]
            ):
                named, of_move = str(line.get("description") or ""), external_id(MOVE, int(line["move"]))
                found[named if named in names else of_move].append(line)
        return found

    # -- taking back ------------------------------------------------------------------------------------------------
    async def _take_back(self, moves: Lines, lines: Lines, company: str) -> None:
        """Undo posted applications: their reconciliations, their ties, then each by a move that mirrors it."""
        named = {str(one["description"]) for one in lines if _names(one)}
        sides = [one for side in (await self._sides(sorted(named), company)).values() for one in side]
        reconciled = {int(one["reconciliation"]) for one in (*lines, *sides) if one.get("reconciliation")}
        if reconciled:
            await self._write("model.account.move.reconciliation.delete", sorted(reconciled), company=company)
        for line in lines:
            if invoice := line.get("invoice_payment"):
                values = _tied("remove", [line["id"]])
                await self._write("model.account.invoice.write", [invoice], values, company=company)
        for move in moves:
            await self._mirror(move, [one for one in lines if one["move"] == move["id"]], company)

    async def _mirror(self, move: Row, lines: Lines, company: str) -> None:
        day, period = await self._open_day(move["date"], company)
        reference = f"account.move,{move['id']}"
        for left in await self._settling_moves(
            [["origin", "=", reference], ["description", "=", TAKEN_BACK]]
        ):
            # Of an earlier try that did not come to posting it.
            await self._write("model.account.move.delete", [left["id"]], company=company)
        mirrored = [
            {"account": one["account"], "party": one["party"], "debit": one["credit"], "credit": one["debit"]}
            for one in lines
        ]
        body = {
            "company": int(company),
            "journal": move["journal"],
            "period": int(period.id),
            "date": day,
            "description": TAKEN_BACK,
            "origin": reference,
            "lines": [["create", mirrored]],
        }
        (made,) = await self._write("model.account.move.create", [body], company=company)
        await self._write("model.account.move.post", [made], company=company)
        # Original and mirror hold the same amounts on both sides: together they sum to nothing.
        await self._reconcile_lines([[*lines, *await self._lines([["move", "=", made]])]], company)

    async def _write(self, method: str, *params: Any, company: str, **context: Any) -> Any:
        return await self.client.write(
            method, *params, operation="assign.applications", company=int(company), **context
        )


def _reference(document: str) -> str:
    invoice = internal_id(document, INVOICE)
    return f"account.invoice,{invoice}" if invoice is not None else f"account.move,{document[1:]}"


def _ids(documents: Iterable[str], model: str) -> list[int]:
    return [id for one in documents if (id := internal_id(one, model)) is not None]


def _tied(how: str, lines: list[int]) -> Row:
    return {"payment_lines": [[how, lines]]}


def _balance(lines: Lines) -> Decimal:
    return sum((Decimal(str(one["debit"])) - Decimal(str(one["credit"])) for one in lines), Decimal(0))


def _loose(lines: Lines) -> bool:
    """Whether a line names an invoice or credit note of which it is no payment."""
    named = [one for one in lines if internal_id(str(one.get("description") or ""), INVOICE) is not None]
    return any(not one.get("invoice_payment") for one in named)


def _names(line: Row) -> bool:
    return internal_id(str(line.get("description") or ""), INVOICE, MOVE) is not None


def _sums(lines: Iterable[Row], origin: str, currency: str) -> dict[str, int]:
    """What lines settle, by document: what lowers a receivable counts up."""
    found: dict[str, int] = defaultdict(int)
    for line in lines:
        amount = minor(line["credit"], currency) - minor(line["debit"], currency)
        name = str(line.get("description") or "")
        if name != origin and _names(line):
            found[name] += amount
    return {name: amount for name, amount in found.items() if amount}


def _difference(wanted: Mapping[str, int], standing: Mapping[str, int]) -> dict[str, int]:
    names = sorted({*wanted, *standing})
    deltas = {name: wanted.get(name, 0) - standing.get(name, 0) for name in names}
    return {name: delta for name, delta in deltas.items() if delta}
