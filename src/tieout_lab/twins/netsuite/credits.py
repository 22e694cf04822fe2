"""Credit memos, on their own or made from an invoice."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.errors import user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.sales import Sales
from tieout_lab.twins.netsuite.state import Document, Record
from tieout_lab.twins.netsuite.values import Choice, Ref, from_minor

STATUSES = {"A": "Open", "B": "Fully Applied", "V": "Voided"}


class CreditMemos(Sales):
    """`creditMemo`. Posts on save; needs no approval."""

    type = "creditMemo"
    prefix = "CM"

    def create(self, body: Body) -> Record:
        document = self.open(body)
        self.fill(document, body)
        document.functional = self.ledger.to_functional(document, document.total)
        self.tenant.state.add(document)
        self._apply(document, body)
        self.ledger.post(document)
        return document

    def update(self, record: Record, body: Body) -> None:
        document = self.tenant.state.document(record.id)
        self.change(document, body)
        if set(body.values) - {"apply", "autoApply"}:
            self.fill(document, body)
            document.functional = self.ledger.to_functional(document, document.total)
        if "apply" in body:
            self._apply(document, body)
        self.settlements.rewrite(document, edited=bool(set(body.values) - {"apply", "autoApply"}))

    def view(self, record: Record) -> dict[str, Any]:
        document = self.tenant.state.document(record.id)
        shown = self.sale_view(document)
        letter = "B" if document.open_amount == 0 else "A"
        shown.update(
            status=Choice(letter, STATUSES[letter]),
            applied=self.amount(document, document.total - document.open_amount),
            unapplied=self.amount(document, document.open_amount),
            apply=self.settlements.apply_view(document),
            type=Choice("CustCred", "Credit Memo"),
        )
        source = document.fields.get("_created_from")
        if source is not None:
            shown["createdFrom"] = Ref("invoice", source, self.tenant.name("transaction", source))
        return shown

    def made_from(self, invoice: Document, body: Body) -> Record:
        """`!transform`: the invoice's lines, tax and entity, changed by the body, applied to the invoice."""
        if invoice.approval != "2" or invoice.open_amount == 0:
            raise user_error("That is an invalid transaction: the invoice has nothing left to credit.")
        exponent = self.tenant.exponent(invoice.currency)
        lines = {str(line.line): _as_given(line, exponent) for line in invoice.lines}
        if "item" in body.replace:
            lines = {}
        for given in body.get("item") or []:
            key = str(given.get("line", f"new{len(lines)}"))
            changed = {**lines.get(key, {}), **given}
            if key in lines and "amount" not in given and ("rate" in given or "quantity" in given):
                changed.pop("amount", None)
            lines[key] = changed
        values = {
            "entity": invoice.entity,
            "subsidiary": invoice.subsidiary,
            "currency": invoice.currency,
            "taxDetailsOverride": invoice.tax_override,
            "otherRefNum": invoice.fields.get("otherRefNum"),
            "memo": invoice.fields.get("memo"),
            **body.values,
            "item": [{name: v for name, v in line.items() if name != "line"} for line in lines.values()],
        }
        if invoice.tax_override and "taxDetails" not in body and "item" not in body:
            values["taxDetails"] = [
                {
                    "taxDetailsReference": tax.reference,
                    "taxCode": tax.code,
                    "taxType": tax.type,
                    "taxBasis": from_minor(tax.basis, exponent),
                    "taxRate": tax.rate,
                    "taxAmount": from_minor(tax.amount, exponent),
                }
                for tax in invoice.taxes
            ]
        if "apply" not in body:
            values["apply"] = [{"doc": invoice.id, "apply": True}]
        record = self.create(Body(values))
        record.fields["_created_from"] = invoice.id
        return record

    def _apply(self, document: Document, body: Body) -> None:
        wanted = self.settlements.wanted(document, body, capacity=document.total - refunded(document))
        if sum(wanted.values()) > document.total - refunded(document):
            raise user_error("The amount applied exceeds the total of this credit memo.", path="apply")
        self.settlements.settle(document, wanted)


def refunded(document: Document) -> int:
    """What refunds have taken from a credit memo or payment."""
    return sum(a.amount for a in document.applied)


def _as_given(line: Any, exponent: int) -> dict[str, Any]:
    """A line of an invoice as a body would have it."""
    given = {
        "line": line.line,
        "item": line.item,
        "amount": from_minor(line.amount, exponent),
        "department": line.department,
        "taxDetailsReference": line.tax_reference,
        **line.fields,
    }
    if line.quantity is not None:
        given["quantity"] = line.quantity
    return given
