"""Journal entries."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.errors import missing, no_line, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.state import Document, Line, Record
from tieout_lab.twins.netsuite.transactions import Transactions, shown_field
from tieout_lab.twins.netsuite.values import Choice, Ref, Sublist, to_minor

APPROVALS = {"1": "Pending Approval", "2": "Approved", "3": "Rejected"}
_OWN = frozenset("line account debit credit entity department links refName".split())


class Journals(Transactions):
    """`journalEntry`: lines of debit and credit that balance in the journal's currency."""

    type = "journalEntry"
    prefix = "JE"
    receivables = False

    def create(self, body: Body) -> Record:
        document = self.open(body)
        document.approval = "1" if self.tenant.preferences.approve_journals else "2"
        self._write(document, body)
        self.tenant.state.add(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        self.change(document, body)
        if self.tenant.preferences.approve_journals and body.get("approvalStatus") in ("1", "2", "3"):
            document.approval = str(body.get("approvalStatus"))
        self._write(document, body)

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.header(document)
        shown.update(
            approved=document.approval == "2",
            approvalStatus=Choice(document.approval, APPROVALS[document.approval]),
            line=Sublist([self._line_view(document, line) for line in document.lines]),
        )
        return shown

    def _entity(self, body: Body) -> Record | None:  # noqa: ARG002 - a journal has none
        return None

    def _write(self, document: Document, body: Body) -> None:
        lines = [] if "line" in body.replace else list(document.lines)
        for position, given in enumerate(body.get("line") or []):
            path = f"line.items[{position}]"
            known = None
            if given.get("line") is not None and document.lines and "line" not in body.replace:
                known = next((line for line in lines if str(line.line) == str(given["line"])), None)
                if known is None:
                    raise no_line("line", "line", str(given["line"]), path)
            if known is None:
                known = Line(len(lines), 0)
                lines.append(known)
            self._line(document, known, given, path)
        document.lines = lines
        if len(lines) < 2:
            raise user_error("You must enter at least two lines for this transaction.", path="line")
        off = sum(line.amount for line in lines)
        if off:
            difference = self.amount(document, abs(off))
            raise user_error(
                f"The amounts in a journal entry must balance. Out of balance by {difference}.", path="line"
            )
        document.total = sum(line.amount for line in lines if line.amount > 0)
        touches_receivables = any(line.account == document.receivables for line in lines)
        if touches_receivables:
            period = self.tenant.state.get("accountingPeriod", document.period)
            self.ledger.check(period, document.subsidiary)
        self.ledger.post(document)

    def _line(self, document: Document, line: Line, given: dict[str, Any], path: str) -> None:
        line.account = given.get("account") or line.account
        if line.account is None:
            raise missing("Account", path=f"{path}.account")
        debit, credit = given.get("debit"), given.get("credit")
        if debit and credit:
            raise user_error("A line cannot have both a debit and a credit.", path=path)
        exponent = self.tenant.exponent(document.currency)
        if debit is not None or credit is not None:
            line.amount = to_minor(debit or Decimal(0), exponent) - to_minor(credit or Decimal(0), exponent)
        line.entity = given.get("entity", line.entity)
        line.department = given.get("department", line.department)
        if self.tenant.state.get("account", line.account).fields["acctType"] == "AcctRec" and not line.entity:
            raise missing("Name", path=f"{path}.entity")
        line.fields.update({name: value for name, value in given.items() if name not in _OWN})

    def _line_view(self, document: Document, line: Line) -> dict[str, Any]:
        tenant = self.tenant
        shown: dict[str, Any] = {
            "line": line.line,
            "account": Ref("account", str(line.account), tenant.name("account", line.account)),
            "debit" if line.amount >= 0 else "credit": self.amount(document, abs(line.amount)),
        }
        if line.entity is not None:
            shown["entity"] = Ref("customer", line.entity, tenant.name("customer", line.entity))
        if line.department is not None:
            shown["department"] = Ref(
                "department", line.department, tenant.name("department", line.department)
            )
        for name, value in line.fields.items():
            if value is not None:
                shown[name] = shown_field(tenant, name, value)
        return shown
