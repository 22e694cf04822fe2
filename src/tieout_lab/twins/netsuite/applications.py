"""What settles what: apply lists of payments, credit memos and refunds, with the exchange difference they realise."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.errors import no_line, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.state import Application, Document, Posting
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import Ref, Sublist, from_minor, share, to_minor

# What each applying document may settle.
SETTLES = {
    "customerPayment": ("invoice",),
    "creditMemo": ("invoice",),
    "customerRefund": ("creditMemo", "customerPayment"),
    "depositApplication": ("invoice",),
}
LABELS = {"invoice": "Invoice", "creditMemo": "Credit Memo", "customerPayment": "Payment"}


class Settlements:
    """Changes the applications of one document at a time, and keeps the ledger with them."""

    def __init__(self, tenant: Tenant, ledger: Ledger) -> None:
        self.tenant = tenant
        self.ledger = ledger

    def wanted(self, applier: Document, body: Body, *, capacity: int | None) -> dict[str, int]:
        """Amount per document the apply list asks for, after merging with what stands (unless it is replaced).

        `capacity` bounds an omitted amount (minor units); None: the document's whole due amount."""
        wanted = {} if "apply" in body.replace else {a.target: a.amount for a in applier.applies}
        exponent = self.tenant.exponent(applier.currency)
        for position, line in enumerate(body.get("apply") or []):
            path = f"apply.items[{position}]"
            target = self._target(applier, line, path)
            if line.get("apply") is False:
                wanted.pop(target.id, None)
                continue
            own = sum(a.amount for a in applier.applies if a.target == target.id)
            due = target.open_amount + own
            if line.get("amount") is None:
                room = due if capacity is None else min(due, capacity - sum(wanted.values()))
                amount = wanted.get(target.id, max(room, 0))
            else:
                amount = to_minor(line["amount"], exponent)
            if amount < 0:
                raise user_error("The amount of an application cannot be negative.", path=f"{path}.amount")
            if amount > due:
                raise user_error(  # ASSUMED text
                    f"The amount applied to {target.number} exceeds the amount due.", path=f"{path}.amount"
                )
            wanted[target.id] = amount
        return {target: amount for target, amount in wanted.items() if amount}

    def _target(self, applier: Document, line: dict[str, Any], path: str) -> Document:
        """The document an apply line means. One that would not be on the form's list has no matching line."""
        doc = line.get("doc")
        shown = f"{doc},{line.get('line')}"
        found = self.tenant.state.records["transaction"].get(str(doc))
        if not isinstance(found, Document) or found.type not in SETTLES[applier.type]:
            raise no_line("apply", "doc,line", shown, path)
        linked = any(a.target == found.id for a in applier.applies)
        fits = (
            found.entity == applier.entity
            and found.currency == applier.currency
            and found.subsidiary == applier.subsidiary
            and found.approval == "2"
            and (found.open_amount > 0 or linked)
        )
        if not fits:
            raise no_line("apply", "doc,line", shown, path)
        return found

    def settle(self, applier: Document, wanted: dict[str, int]) -> None:
        """Make the document's applications exactly `wanted`; unchanged ones keep their carrying amounts."""
        state, now = self.tenant.state, self.tenant.now()
        standing = {a.target: a for a in applier.applies}
        dropped = [a for a in applier.applies if wanted.get(a.target) != a.amount]
        state.touch(applier, now)
        for application in dropped:
            target = state.document(application.target)
            state.touch(target, now)
            applier.applies.remove(application)
            target.applied.remove(application)
        for target_id, amount in wanted.items():
            if target_id in standing and standing[target_id] not in dropped:
                continue
            target = state.document(target_id)
            state.touch(target, now)
            application = Application(
                id=state.next("application"),
                applier=applier.id,
                target=target_id,
                amount=amount,
                applier_functional=share(applier.open_functional, amount, applier.open_amount),
                target_functional=share(target.open_functional, amount, target.open_amount),
                on=self.tenant.today(applier.subsidiary),
            )
            applier.applies.append(application)
            target.applied.append(application)

    def release(self, document: Document) -> list[str]:
        """Take every application away from and to a document that is being removed; answers the other documents."""
        others = {a.applier for a in document.applied} | {a.target for a in document.applies}
        for application in list(document.applied):
            applier = self.tenant.state.document(application.applier)
            kept = {a.target: a.amount for a in applier.applies if a.target != document.id}
            self.settle(applier, kept)
            self.repost(applier)
        self.settle(document, {})
        return sorted(others)

    def corrections(self, document: Document) -> list[Document]:
        """The revaluations the system wrote for a document whose period was closed."""
        return [
            other for other in self.tenant.state.documents() if other.fields.get("revalues") == document.id
        ]

    def rewrite(self, document: Document, *, edited: bool) -> None:
        """The ledger lines after an update: posted anew where it was edited, else as its applications ask."""
        if edited and not self.corrections(document):
            self.ledger.post(document)
        else:
            self.repost(document)

    def repost(self, document: Document) -> None:
        """Bring a document's ledger lines in line with its applications.

        While its period is open they are its own lines. Once it is closed the difference goes into a currency
        revaluation of the business day, which the system writes by itself (ASSUMED)."""
        entries = self.ledger.entries(document)
        before, after = _by_account(document.gl), _by_account(entries)
        period = self.tenant.state.get("accountingPeriod", document.period)
        corrections = self.corrections(document)
        if not corrections and self.ledger.refusal(period, document.subsidiary, receivables=True) is None:
            document.gl = entries
            return
        for other in corrections:
            for account, amount in _by_account(other.gl).items():
                before[account] = before.get(account, 0) + amount
        delta = {a: after.get(a, 0) - before.get(a, 0) for a in sorted(set(before) | set(after))}
        delta = {account: amount for account, amount in delta.items() if amount}
        if delta:
            self._revalue(document, delta)

    def _revalue(self, document: Document, delta: dict[str, int]) -> None:
        state, on = self.tenant.state, self.tenant.today(document.subsidiary)
        now = self.tenant.now()
        period = self.ledger.first_open(self.ledger.period_of(on), document.subsidiary)
        state.add(
            Document(
                type="currencyRevaluation",
                id=str(state.next("transaction")),
                created=now,
                modified=now,
                fields={"revalues": document.id, "memo": f"Realized gain/loss of {document.number}"},
                number=f"FXREVAL{state.next('number/currencyRevaluation', 1001)}",
                subsidiary=document.subsidiary,
                entity=document.entity,
                currency=self.tenant.functional(document.subsidiary),
                on=on,
                period=period.id,
                gl=[Posting(n, account, amount, amount) for n, (account, amount) in enumerate(delta.items())],
            )
        )

    def apply_view(self, applier: Document) -> Sublist:
        """The apply list of a document as it is read: what it settles."""
        tenant = self.tenant
        exponent = tenant.exponent(applier.currency)
        lines = []
        for application in applier.applies:
            target = tenant.state.document(application.target)
            lines.append(
                {
                    "amount": from_minor(application.amount, exponent),
                    "apply": True,
                    "applyDate": target.on.isoformat(),
                    "currency": tenant.state.get("currency", target.currency).fields["name"],
                    "doc": Ref(target.type, target.id, target.number),
                    "due": from_minor(target.open_amount + application.amount, exponent),
                    "line": 0,
                    "refNum": target.number,
                    "total": from_minor(target.total, exponent),
                    "type": LABELS[target.type],
                }
            )
        return Sublist(lines, "doc")


def _by_account(entries: list[Posting]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in entries:
        sums[line.account] = sums.get(line.account, 0) + line.functional
    return {account: amount for account, amount in sums.items() if amount}
