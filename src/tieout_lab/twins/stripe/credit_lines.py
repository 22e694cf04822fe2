"""The lines of credit notes: of the invoice's lines, of an amount, or of their own; and the tax in them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tieout_lab.twins.stripe import discounts, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, required
from tieout_lab.twins.stripe.form import merged


def lines_of(account: Account, invoice: Obj, given: Obj) -> list[Obj]:
    """The lines that the parameters of a credit note describe; refuses more than is left of a line."""
    if given.get("lines"):
        return [_line(account, invoice, one, place) for place, one in enumerate(given["lines"])]
    if "amount" not in given:
        raise required("amount")
    if given["amount"] <= 0:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    return _of_amount(account, invoice, given["amount"])


def _of_amount(account: Account, invoice: Obj, amount: int) -> list[Obj]:
    """An amount with its tax, split like the whole invoice. That the tax is lessened in proportion is assumed."""
    total = invoice["total"]
    notes = [
        n for n in account.all("credit_notes") if n["invoice"] == invoice["id"] and n["status"] != "void"
    ]
    before = sum(int(note["total"]) for note in notes)
    entries, exclusive = [], 0
    for entry in invoice["total_taxes"]:
        rate = entry["tax_rate_details"]["tax_rate"]
        credited = [
            e for note in notes for e in note["total_taxes"] if e["tax_rate_details"]["tax_rate"] == rate
        ]
        gone = sum(int(e["amount"]) for e in credited)
        # counted from the sum of all credits, so that they take exactly the whole tax together
        so_far = tax.rounded(Decimal(entry["amount"]) * (before + amount) / total, invoice["currency"])
        part = min(max(so_far - gone, 0), entry["amount"] - gone)
        taxable = tax.rounded(Decimal(entry["taxable_amount"]) * amount / total)
        entries.append({**entry, "amount": part, "taxable_amount": taxable})
        exclusive += part if entry["tax_behavior"] == "exclusive" else 0
    text = f"Credit on invoice {invoice['number']}"
    return [_new_line(account, "custom_line_item", amount - exclusive, entries, text, quantity=1)]


def _line(account: Account, invoice: Obj, given: Obj, place: int) -> Obj:
    where = f"lines[{place}]"
    if given["type"] == "custom_line_item":
        return _custom_line(account, given, where)
    if "invoice_line_item" not in given:
        raise required(f"{where}[invoice_line_item]")
    line = next((one for one in invoice["lines"]["data"] if one["id"] == given["invoice_line_item"]), None)
    if line is None:
        text = f"No such invoice line item: '{given['invoice_line_item']}'"
        raise conflict(text, "resource_missing", f"{where}[invoice_line_item]")
    if ("amount" in given) == ("quantity" in given):
        raise invalid("Exactly one of amount and quantity.", f"{where}[amount]", "parameters_exclusive")
    if "quantity" in given:
        if not 0 < given["quantity"] <= (line["quantity"] or 1):
            raise invalid(f"quantity: between 1 and {line['quantity']}", f"{where}[quantity]")
        amount = tax.rounded(
            Decimal(line["amount"]) * given["quantity"] / (line["quantity"] or 1), line["currency"]
        )
    else:
        amount = given["amount"]
    left = line["amount"] - _credited_of(account, line["id"])
    if not 0 < amount <= left:
        raise conflict(f"The line has {left} left to credit.", "amount_too_large", f"{where}[amount]")
    entries = _line_taxes(account, line, amount, left)
    before = [part for own in _credits_of(account, line["id"]) for part in own["discount_amounts"]]
    return _new_line(
        account,
        "invoice_line_item",
        amount,
        entries,
        given.get("description") or line["description"],
        quantity=given.get("quantity"),
        invoice_line_item=line["id"],
        metadata=merged({}, given.get("metadata")),
        discounts=discounts.credited(line, amount, before, last=amount == left),
    )


def _custom_line(account: Account, given: Obj, where: str) -> Obj:
    if "unit_amount" not in given and "unit_amount_decimal" not in given:
        raise required(f"{where}[unit_amount]")
    quantity = given.get("quantity", 1)
    unit = Decimal(str(given.get("unit_amount_decimal", given.get("unit_amount"))))
    amount = tax.rounded(unit * quantity)
    rates = tax.chosen_rates(account, given, where=where)
    return _new_line(
        account,
        "custom_line_item",
        amount,
        [tax.taxed(amount, rate, "not_available") for rate in rates],
        given.get("description"),
        quantity=quantity,
        unit=given.get("unit_amount", int(unit)),
        tax_rates=rates,
        metadata=merged({}, given.get("metadata")),
    )


def _credited_of(account: Account, line: str) -> int:
    return sum(own["amount"] for own in _credits_of(account, line))


def _credits_of(account: Account, line: str) -> list[Obj]:
    notes = [note for note in account.all("credit_notes") if note["status"] != "void"]
    return [own for note in notes for own in note["lines"]["data"] if own["invoice_line_item"] == line]


def _line_taxes(account: Account, line: Obj, amount: int, left: int) -> list[Obj]:
    """A line's taxes in proportion; the credit that uses the line up takes exactly the tax that is left."""
    before = [entry for own in _credits_of(account, line["id"]) for entry in own["taxes"]]
    found = []
    for entry in line["taxes"]:
        place = entry["tax_rate_details"]["tax_rate"]
        gone = sum(e["amount"] for e in before if e["tax_rate_details"]["tax_rate"] == place)
        part = tax.rounded(Decimal(entry["amount"]) * amount / line["amount"], line["currency"])
        taxable = tax.rounded(Decimal(entry["taxable_amount"]) * amount / line["amount"])
        exact = entry["amount"] - gone
        found.append(
            {**entry, "amount": exact if amount == left else min(part, exact), "taxable_amount": taxable}
        )
    return found


def _new_line(
    account: Account, kind: str, amount: int, taxes: list[Obj], text: str | None, **given: Any
) -> Obj:
    unit = given.get("unit")
    parts = given.get("discounts") or []
    return {
        "id": account.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": text,
        "discount_amount": sum(int(part["amount"]) for part in parts),
        "discount_amounts": parts,
        "invoice_line_item": given.get("invoice_line_item"),
        "livemode": account.livemode,
        "metadata": given.get("metadata", {}),
        "pretax_credit_amounts": [{**part, "type": "discount"} for part in parts],
        "quantity": given.get("quantity"),
        "tax_rates": given.get("tax_rates", []),
        "taxes": taxes,
        "type": kind,
        "unit_amount": unit,
        "unit_amount_decimal": None if unit is None else str(unit),
    }
