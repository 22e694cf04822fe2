"""Item lines and tax details, which invoices and credit memos share."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.errors import Refusal, invalid_key, invalid_value, missing, no_line, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.state import Document, Line, TaxDetail
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.transactions import Transactions, shown_field
from tieout_lab.twins.netsuite.values import Ref, Sublist, from_minor, number, printed, share, text, to_minor

_OWN_LINE = frozenset("line item quantity rate amount department taxDetailsReference links refName".split())
_OWN_TAX = frozenset(
    "taxDetailsReference taxCode taxType taxBasis taxRate taxAmount netAmount links refName lineName".split()
)


class Sales(Transactions):
    """Invoices and credit memos: item lines, tax, terms."""

    def fill(self, document: Document, body: Body) -> None:
        """Bring lines, taxes and totals up to a body. Raises Refusal where the document cannot be so."""
        if "item" in body:
            self._items(document, body)
        if not document.lines:
            raise user_error("You must enter at least one line item for this transaction.", path="item")
        if body.get("taxDetailsOverride") is not None:
            document.tax_override = body.get("taxDetailsOverride")
        self._taxes(document, body)
        document.total = sum(line.amount for line in document.lines) + sum(
            tax.amount for tax in document.taxes
        )
        if document.total < 0:
            raise user_error("The total can not be negative.", path="item")
        settled = sum(a.amount for a in [*document.applied, *document.applies])
        if document.total < settled:
            raise user_error("The total cannot be less than the amount that has been applied.", path="item")

    # -- item lines -------------------------------------------------------------------------------------------------
    def _items(self, document: Document, body: Body) -> None:
        lines = [] if "item" in body.replace else list(document.lines)
        for position, given in enumerate(body.get("item") or []):
            path = f"item.items[{position}]"
            known = None
            if given.get("line") is not None and "item" not in body.replace:
                known = next((line for line in lines if str(line.line) == str(given["line"])), None)
                if known is None and document.lines:
                    raise no_line("item", "line", str(given["line"]), path)
            if known is None:
                known = Line(max((line.line for line in lines), default=0) + 1, 0)
                lines.append(known)
            self._item(document, known, given, path)
        document.lines = lines

    def _item(self, document: Document, line: Line, given: dict[str, Any], path: str) -> None:
        line.item = given.get("item") or line.item
        if line.item is None:
            raise missing("Item", path=f"{path}.item")
        item = self.tenant.state.find("serviceSaleItem", line.item)
        if item is None:
            raise invalid_value(line.item, "item", f"{path}.item")
        if document.subsidiary not in item.fields["subsidiaries"]:
            raise invalid_key("item", line.item, "subsidiary", document.subsidiary, f"{path}.item")
        quantity = given.get("quantity", line.quantity)
        rate = number(given["rate"]) if given.get("rate") is not None else None
        exponent = self.tenant.exponent(document.currency)
        if given.get("amount") is not None:
            line.amount = to_minor(given["amount"], exponent)
            each = Decimal(line.amount).scaleb(-exponent)
            line.rate = rate if rate is not None else (each / quantity if quantity else each)
        elif rate is not None or "quantity" in given:
            rate = rate if rate is not None else line.rate
            if rate is None:
                raise missing("Amount", path=f"{path}.amount")
            line.rate = rate
            line.amount = to_minor(rate * (quantity if quantity is not None else 1), exponent)
        elif line.rate is None:
            raise missing("Amount", path=f"{path}.amount")
        line.quantity = quantity
        line.department = given.get("department", line.department)
        if "taxDetailsReference" in given:
            line.tax_reference = text(given["taxDetailsReference"])
        if line.tax_reference is None:
            line.tax_reference = f"{document.id}_{line.line}"
        line.fields.update({name: value for name, value in given.items() if name not in _OWN_LINE})

    # -- tax --------------------------------------------------------------------------------------------------------
    def _taxes(self, document: Document, body: Body) -> None:
        """With the override the details are what was sent; without it the account computes from the lines' codes
        and what was sent is not looked at (ASSUMED for the latter)."""
        references = {str(line.tax_reference): line for line in document.lines}
        if not document.tax_override:
            document.taxes = [tax for line in document.lines if (tax := self._computed(line))]
            return
        if "taxDetails" in body:
            document.taxes = [
                self._tax(document, given, references, f"taxDetails.items[{position}]")
                for position, given in enumerate(body.get("taxDetails") or [])
            ]
        document.taxes = [tax for tax in document.taxes if tax.reference in references]

    def _tax(
        self, document: Document, given: dict[str, Any], references: dict[str, Line], path: str
    ) -> TaxDetail:
        reference = reference_text(given.get("taxDetailsReference"))
        if reference is None:
            raise missing("Tax Details Reference", path=f"{path}.taxDetailsReference")
        if reference not in references:
            raise invalid_value(reference, "taxdetailsreference", f"{path}.taxDetailsReference")
        code = given.get("taxCode")
        if code is None:
            raise missing("Tax Code", path=f"{path}.taxCode")
        if given.get("taxType") is None:
            raise missing("Tax Type", path=f"{path}.taxType")
        if given.get("taxAmount") is None:
            raise missing("Tax Amount", path=f"{path}.taxAmount")
        record = self.tenant.state.get("salesTaxItem", code)
        kind = tax_type(self.tenant, given["taxType"], f"{path}.taxType")
        if record.fields["taxType"] != kind:
            raise Refusal(
                "INVALID_CONTENT",
                f"Error while accessing a resource. Invalid taxcode reference key {code} for taxtype {kind}.",
                path=f"{path}.taxCode",
            )
        exponent = self.tenant.exponent(document.currency)
        basis = given.get("taxBasis")
        rate = given.get("taxRate")
        return TaxDetail(
            reference=reference,
            code=code,
            type=kind,
            basis=references[reference].amount if basis is None else to_minor(basis, exponent),
            rate=record.fields["rate"] if rate is None else rate,
            amount=to_minor(given["taxAmount"], exponent),
            fields={name: value for name, value in given.items() if name not in _OWN_TAX},
        )

    def _computed(self, line: Line) -> TaxDetail | None:
        code = line.fields.get("taxCode")
        if code is None:
            return None
        record = self.tenant.state.get("salesTaxItem", code)
        rate = record.fields["rate"]
        amount = share(line.amount, int(rate * 1000), 100_000)
        return TaxDetail(str(line.tax_reference), code, record.fields["taxType"], line.amount, rate, amount)

    # -- showing ----------------------------------------------------------------------------------------------------
    def sale_view(self, document: Document) -> dict[str, Any]:
        """Header, lines, taxes and totals."""
        shown = self.header(document)
        tax = sum(detail.amount for detail in document.taxes)
        settled = document.total - document.open_amount
        shown.update(
            account=Ref("account", document.receivables, self.tenant.name("account", document.receivables)),
            item=Sublist([self._line_view(document, line) for line in document.lines]),
            taxDetails=Sublist(
                [self._tax_view(document, detail) for detail in document.taxes], "taxDetailsReference"
            ),
            taxDetailsOverride=document.tax_override,
            subtotal=self.amount(document, document.total - tax),
            taxTotal=self.amount(document, tax),
            total=self.amount(document, document.total),
            amountPaid=self.amount(document, settled),
            amountRemaining=self.amount(document, document.open_amount),
            amountRemainingTotalBox=self.amount(document, document.open_amount),
        )
        return shown

    def _line_view(self, document: Document, line: Line) -> dict[str, Any]:
        tenant = self.tenant
        item = str(line.item)
        taxes = sum(tax.amount for tax in document.taxes if tax.reference == line.tax_reference)
        shown: dict[str, Any] = {
            "line": line.line,
            "lineUniqueKey": f"{document.id}{line.line:03d}",
            "item": Ref("serviceSaleItem", item, tenant.name("serviceSaleItem", item)),
            "itemType": {"id": "Service", "refName": "Service"},
            "amount": self.amount(document, line.amount),
            "taxDetailsReference": line.tax_reference,
            "taxAmount": self.amount(document, taxes),
        }
        if line.rate is not None:
            shown["rate"] = printed(line.rate)
        if line.quantity is not None:
            shown["quantity"] = printed(line.quantity)
        if line.department is not None:
            shown["department"] = Ref(
                "department", line.department, tenant.name("department", line.department)
            )
        for name, value in line.fields.items():
            if value is not None:
                shown[name] = shown_field(tenant, name, value)
        return shown

    def _tax_view(self, document: Document, tax: TaxDetail) -> dict[str, Any]:
        line = next((line for line in document.lines if line.tax_reference == tax.reference), None)
        exponent = self.tenant.exponent(document.currency)
        return {
            "taxDetailsReference": {"id": tax.reference, "refName": tax.reference},
            "lineType": tax.fields.get("lineType", "Item"),
            "lineName": self.tenant.name("serviceSaleItem", line.item) if line is not None else None,
            "netAmount": from_minor(line.amount if line is not None else tax.basis, exponent),
            "taxType": {"id": tax.type, "refName": self.tenant.name("taxType", tax.type)},
            "taxCode": Ref("salesTaxItem", tax.code, self.tenant.name("salesTaxItem", tax.code)),
            "taxBasis": from_minor(tax.basis, exponent),
            "taxRate": printed(tax.rate),
            "taxAmount": from_minor(tax.amount, exponent),
            **{
                name: text(value)
                for name, value in tax.fields.items()
                if name != "lineType" and value is not None
            },
        }


def reference_text(given: Any) -> str | None:
    """A tax details reference: plain text, or the object the REST schema shows for it."""
    if isinstance(given, dict):
        given = given.get("id") or given.get("refName")
    return text(given)


def tax_type(tenant: Tenant, given: Any, path: str) -> str:
    """The id of a tax type from an id, an object, or its name."""
    if isinstance(given, dict):
        given = given.get("id") or given.get("refName")
    for record in tenant.state.of_type("taxType"):
        if str(given) in (record.id, record.fields["name"]):
            return record.id
    raise invalid_value(given, "taxtype", path)
