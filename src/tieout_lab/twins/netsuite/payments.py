"""Customer payments and customer refunds."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.credits import refunded
from tieout_lab.twins.netsuite.errors import invalid_key, missing, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.state import Document, Record
from tieout_lab.twins.netsuite.transactions import Transactions
from tieout_lab.twins.netsuite.values import Choice, Ref, from_minor, to_minor

CASH_ACCOUNTS = ("Bank", "OthCurrAsset", "UnbilledRec")


class Cash(Transactions):
    """What payments and refunds share: a cash account and an apply list."""

    entity_field = "customer"

    def cash_account(self, document: Document, given: str | None) -> str:
        """The account money goes to or comes from: it must hold cash."""
        if given is None:
            raise missing("Account", path="account")
        if self.tenant.state.get("account", given).fields["acctType"] not in CASH_ACCOUNTS:
            raise invalid_key("account", given, "subsidiary", document.subsidiary, "account")
        return given

    def cash_view(self, document: Document) -> dict[str, Any]:
        """Header, account and apply list."""
        shown = self.header(document)
        shown["account"] = Ref(
            "account", str(document.account), self.tenant.name("account", document.account)
        )
        shown["arAcct"] = Ref(
            "account", document.receivables, self.tenant.name("account", document.receivables)
        )
        shown["total"] = self.amount(document, document.total)
        shown["apply"] = self.settlements.apply_view(document)
        return shown


class Payments(Cash):
    """`customerPayment`. What it does not apply stays on account, inside receivables."""

    type = "customerPayment"
    prefix = "PYMT"

    def create(self, body: Body) -> Record:
        document = self.open(body)
        # Without an account the money goes to undeposited funds; this account keeps none.
        document.account = self.cash_account(document, body.get("account"))
        given = body.get("payment")
        exponent = self.tenant.exponent(document.currency)
        capacity = None if given is None else to_minor(given, exponent)
        wanted = self.settlements.wanted(document, body, capacity=capacity)
        if given is None and not wanted:
            raise missing("Payment Amount", path="payment")
        document.total = sum(wanted.values()) if capacity is None else capacity
        self._check(document, wanted)
        document.functional = self.ledger.to_functional(document, document.total)
        self.tenant.state.add(document)
        self.settlements.settle(document, wanted)
        self.ledger.post(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        self.change(document, body)
        if body.get("account"):
            document.account = self.cash_account(document, body.get("account"))
        if body.get("payment") is not None:
            document.total = to_minor(body.get("payment"), self.tenant.exponent(document.currency))
        document.functional = self.ledger.to_functional(document, document.total)
        wanted = {a.target: a.amount for a in document.applies}
        if "apply" in body:
            wanted = self.settlements.wanted(document, body, capacity=document.total - refunded(document))
        self._check(document, wanted)
        self.settlements.settle(document, wanted)
        self.settlements.rewrite(document, edited=bool(set(body.values) - {"apply", "autoApply"}))

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.cash_view(document)
        bank = self.tenant.state.get("account", str(document.account)).fields["acctType"] == "Bank"
        shown.update(
            payment=self.amount(document, document.total),
            applied=self.amount(document, document.total - document.open_amount),
            unapplied=self.amount(document, document.open_amount),
            pending=self.amount(document, 0),
            status=Choice("C", "Deposited") if bank else Choice("B", "Not Deposited"),
        )
        return shown

    def made_from(self, invoice: Document, body: Body) -> Record:
        """`!transform`: a payment of what is due, changed by the body, applied to the invoice."""
        if invoice.approval != "2" or invoice.open_amount == 0:
            raise user_error("That is an invalid transaction: the invoice has nothing left to pay.")
        due = from_minor(invoice.open_amount, self.tenant.exponent(invoice.currency))
        values = {
            "customer": invoice.entity,
            "subsidiary": invoice.subsidiary,
            "currency": invoice.currency,
            "payment": due,
            **body.values,
        }
        if "apply" not in body:
            values["apply"] = [{"doc": invoice.id, "apply": True, "amount": min(due, values["payment"])}]
        return self.create(Body(values))

    def _check(self, document: Document, wanted: dict[str, int]) -> None:
        if document.total < 0:
            raise user_error("The payment amount cannot be negative.", path="payment")
        if sum(wanted.values()) > document.total - refunded(document):
            raise user_error("The amount applied exceeds the payment amount.", path="apply")


class Refunds(Cash):
    """`customerRefund`: money back for a credit memo or for what a payment left on account."""

    type = "customerRefund"
    prefix = "REF"

    def create(self, body: Body) -> Record:
        document = self.open(body)
        document.account = self.cash_account(document, body.get("account"))
        if body.get("paymentMethod") is None and body.get("paymentOption") is None:
            raise missing("Refund Method", path="paymentOption")
        wanted = self.settlements.wanted(document, body, capacity=None)
        if not wanted:
            raise user_error("You must choose at least one transaction to refund.", path="apply")
        document.total = sum(wanted.values())
        given = body.get("total")
        if given is not None and to_minor(given, self.tenant.exponent(document.currency)) != document.total:
            # The total is computed by the form; a different one is not an error for the vendor, and is not kept.
            document.fields.pop("total", None)
        document.functional = self.ledger.to_functional(document, document.total)
        self.tenant.state.add(document)
        self.settlements.settle(document, wanted)
        self.ledger.post(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        if "apply" in body:
            wanted = self.settlements.wanted(document, body, capacity=None)
            if wanted != {a.target: a.amount for a in document.applies}:
                raise user_error(
                    "The transactions of a refund cannot be changed after it was saved.", path="apply"
                )
        self.change(document, body)
        if body.get("account"):
            document.account = self.cash_account(document, body.get("account"))
        self.ledger.post(document)

    def view(self, record: Record) -> dict[str, Any]:
        return self.cash_view(self.tenant.state.document(record.id))
