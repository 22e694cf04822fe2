"""Customer deposits, and their application to invoices.

A deposit is money that stands in a liability until it is applied; an application is a document of its own, made from
the deposit (`!transform/depositApplication`), that moves it against receivables.
"""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.errors import missing, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.ledger import DEPOSITS
from tieout_lab.twins.netsuite.payments import Cash
from tieout_lab.twins.netsuite.state import Document, Record
from tieout_lab.twins.netsuite.values import Choice, Ref, share, to_minor

STATUSES = {"A": "Not Deposited", "B": "Deposited", "C": "Fully Applied"}


class Deposits(Cash):
    """`customerDeposit`: money taken before there is a document that it settles."""

    type = "customerDeposit"
    prefix = "DEP"
    transforms = ("depositApplication",)
    receivables = False

    def create(self, body: Body) -> Record:
        document = self.open(body)
        document.account = self.cash_account(document, body.get("account"))
        if body.get("payment") is None:
            raise missing("Payment Amount", path="payment")
        document.total = to_minor(body.get("payment"), self.tenant.exponent(document.currency))
        if document.total <= 0:
            raise user_error("The payment amount must be greater than zero.", path="payment")
        self.tenant.state.add(document)
        self.ledger.post(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        self.change(document, body)
        total = document.total
        if body.get("payment") is not None:
            total = to_minor(body.get("payment"), self.tenant.exponent(document.currency))
        if total != document.total and drawn(document):
            raise user_error(
                "You cannot change the amount of a deposit that has been applied.", path="payment"
            )
        document.total = total
        self.ledger.post(document)

    def delete(self, record: Record) -> None:
        if drawn(self.tenant.state.document(record.id)):
            raise user_error("This deposit cannot be deleted because it has been applied.")
        super().delete(record)

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.header(document)
        letter = status(document, bank=self._bank(document))
        shown.update(
            account=Ref("account", str(document.account), self.tenant.name("account", document.account)),
            payment=self.amount(document, document.total),
            status=Choice(letter, STATUSES[letter]),
        )
        return shown

    def _bank(self, document: Document) -> bool:
        return bool(self.tenant.state.get("account", str(document.account)).fields["acctType"] == "Bank")


class DepositApplications(Cash):
    """`depositApplication`: made only from a deposit; as much of it as its apply list says."""

    type = "depositApplication"
    prefix = "DEPAPP"

    def create(self, body: Body) -> Record:  # noqa: ARG002 - refused whatever it says
        raise user_error("A deposit application can only be made from a customer deposit.")

    def made_from(self, deposit: Document, body: Body) -> Record:
        """`!transform`: settles invoices out of what is left of a deposit. Without an apply list it settles none."""
        left = deposit.total - drawn(deposit)
        if not left:
            raise user_error("That is an invalid transaction: nothing is left of the deposit.")
        values = {
            "customer": deposit.entity,
            "subsidiary": deposit.subsidiary,
            "currency": deposit.currency,
            "exchangeRate": deposit.rate,
            **body.values,
        }
        document = self.open(Body(values))
        wanted = self.settlements.wanted(document, Body(values), capacity=left)
        document.total = self._within(wanted, left)
        if not document.total:
            raise user_error("You must choose at least one transaction to apply.", path="apply")
        document.account = DEPOSITS
        document.functional = self._draw(deposit, document.total, left)
        document.fields["_deposit"] = deposit.id
        self.tenant.state.add(document)
        self.settlements.settle(document, wanted)
        self._enter(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        if "apply" in body:
            wanted = self.settlements.wanted(document, body, capacity=document.total)
            if wanted != {a.target: a.amount for a in document.applies}:
                raise user_error("Delete the application and make another one.", path="apply")  # ASSUMED
        self.change(document, body)

    def delete(self, record: Record) -> None:
        document = self.tenant.state.document(record.id)
        deposit = self.tenant.state.document(str(document.fields["_deposit"]))
        super().delete(record)
        self.tenant.state.touch(deposit, self.tenant.now())
        deposit.fields["_drawn"] = drawn(deposit) - document.total
        deposit.fields["_drawn_functional"] = _drawn_functional(deposit) - document.functional

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.header(document)
        deposit = str(document.fields["_deposit"])
        receivables = self.tenant.name("account", document.receivables)
        shown.update(
            arAcct=Ref("account", document.receivables, receivables),
            deposit=Ref("customerDeposit", deposit, self.tenant.name("transaction", deposit)),
            total=self.amount(document, document.total),
            applied=self.amount(document, document.total),
            unapplied=self.amount(document, 0),
            apply=self.settlements.apply_view(document),
        )
        return shown

    def _within(self, wanted: dict[str, int], left: int) -> int:
        total = sum(wanted.values())
        if total > left:
            raise user_error("The amount applied exceeds what is left of the deposit.", path="apply")
        return total

    def _draw(self, deposit: Document, total: int, left: int) -> int:
        """Take a part of a deposit; answers what it is carried at in functional currency."""
        self.tenant.state.touch(deposit, self.tenant.now())
        part = share(deposit.functional - _drawn_functional(deposit), total, left)
        deposit.fields["_drawn"] = drawn(deposit) + total
        deposit.fields["_drawn_functional"] = _drawn_functional(deposit) + part
        return part

    def _enter(self, document: Document) -> None:
        """Post it at what the deposit is carried at, not at a conversion of its own."""
        document.gl = self.ledger.entries(document)


def drawn(deposit: Document) -> int:
    """What of a deposit has been applied, in minor units."""
    return int(deposit.fields.get("_drawn", 0))


def _drawn_functional(deposit: Document) -> int:
    return int(deposit.fields.get("_drawn_functional", 0))


def status(deposit: Document, *, bank: bool) -> str:
    """The status letter of a deposit."""
    if drawn(deposit) == deposit.total:
        return "C"
    return "B" if bank else "A"
