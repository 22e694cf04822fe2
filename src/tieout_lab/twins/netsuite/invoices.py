"""Invoices: approval routing, status, due date, and what they can be transformed into."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tieout_lab.twins.netsuite.errors import forbidden, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.sales import Sales
from tieout_lab.twins.netsuite.state import Document, Record
from tieout_lab.twins.netsuite.values import Choice

APPROVALS = {"1": "Pending Approval", "2": "Approved", "3": "Rejected"}
STATUSES = {"A": "Open", "B": "Paid In Full", "D": "Pending Approval", "E": "Rejected", "V": "Voided"}


class Invoices(Sales):
    """`invoice`. Where its subsidiary has approval routing it stays out of the ledger until it is approved."""

    type = "invoice"
    prefix = "INV"
    transforms = ("creditMemo", "customerPayment")

    def create(self, body: Body) -> Record:
        document = self.open(body)
        customer = self.tenant.state.get("customer", str(document.entity))
        document.fields.setdefault("terms", customer.fields.get("terms"))
        mode = self.tenant.preferences.approval.get(document.subsidiary, "off")
        document.approval = "2" if mode == "off" else "1"
        asked = body.get("approvalStatus")
        if mode != "off" and asked is not None:
            document.approval = self._allowed(document, asked)
        self.fill(document, body)
        self._due(document, body)
        self.ledger.post(document)
        self.tenant.state.add(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        self.change(document, body)
        asked = body.get("approvalStatus")
        routed = self.tenant.preferences.approval.get(document.subsidiary, "off") != "off"
        if asked is not None and routed and asked != document.approval:
            document.approval = self._allowed(document, asked)
        self.fill(document, body)
        if "tranDate" in body or "terms" in body or "dueDate" in body:
            self._due(document, body)
        self.ledger.post(document)

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.sale_view(document)
        letter = status(document)
        shown["status"] = Choice(letter, STATUSES.get(letter, letter))
        approval = document.approval
        shown["approvalStatus"] = Choice(approval, APPROVALS.get(approval, approval))
        shown["type"] = Choice("CustInvc", "Invoice")
        return shown

    def approve(self, document: Document) -> None:
        """What a person does in the user interface. Raises Refusal where the period has been closed meanwhile."""
        period = self.tenant.state.get("accountingPeriod", document.period)
        self.ledger.check(period, document.subsidiary)
        self.tenant.state.touch(document, self.tenant.now())
        document.approval = "2"
        self.ledger.post(document)

    def _allowed(self, document: Document, asked: str) -> str:
        """The approval state a write of the API role may set."""
        if asked not in APPROVALS:
            raise user_error(f"Invalid approval status {asked}.", path="approvalStatus")
        if asked != "1" and self.tenant.preferences.approval[document.subsidiary] == "person":
            raise forbidden(
                "You do not have permissions to set a value for element approvalStatus due to one of the following "
                "reasons: 1) The field is read-only; 2) An associated feature is disabled; 3) The field is available "
                "either when a record is created or updated, but not in both cases.",
                path="approvalStatus",
            )
        if document.approval == "2" and asked != "2" and (document.applied or document.gl):
            raise user_error("An approved transaction cannot be set back.", path="approvalStatus")
        if asked == "2":
            period = self.tenant.state.get("accountingPeriod", document.period)
            self.ledger.check(period, document.subsidiary)
        return asked

    def _due(self, document: Document, body: Body) -> None:
        if body.get("dueDate") is not None:
            return
        terms = document.fields.get("terms")
        days = self.tenant.state.get("term", terms).fields["daysUntilNetDue"] if terms else 0
        document.fields["dueDate"] = document.on + timedelta(days=days)


def status(document: Document) -> str:
    """The status letter of an invoice; one with an approval of a future release (see `alter`) has a letter of it."""
    if document.approval != "2":
        return {"1": "D", "3": "E"}.get(document.approval, "Z")
    return "B" if document.open_amount == 0 else "A"
