"""Invoice items, and the lines of a draft that are added, changed and removed together."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import catalogue, discounts, invoices, lines, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import Refusal, conflict, invalid, left_out, missing, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.invoice_desk import invoice_of
from tieout_lab.twins.stripe.pages import in_range, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

_LEFT_OUT = ("quantity_decimal", "tax_amounts", "tax_code")
_PRICED = ("amount", "price_data", "pricing", "quantity", "unit_amount_decimal")


# -- one item -----------------------------------------------------------------------------------------------------
def _create(call: Call) -> Obj:
    given = call.given
    if "customer" not in given:
        raise required("customer")
    return make(call.account, given)


def make(account: Account, given: Obj, where: str = "") -> Obj:
    """An invoice item from the parameters of `POST /v1/invoiceitems`; on a draft at once where one is named.

    `where` is the place of the parameters in a longer request."""
    for name in _LEFT_OUT:
        if name in given:
            raise left_out(name, f"{where}[{name}]" if where else name)
    customer = account.get("customers", given["customer"], "customer")
    invoice = account.get("invoices", given["invoice"], "invoice") if "invoice" in given else None
    _must_be_draft(invoice)
    metadata = merged({}, given.get("metadata"))
    rates = tax.chosen_rates(account, given)
    quantity = given.get("quantity", 1)
    price, amount = _priced(account, given, quantity)
    code = price["currency"] if price else _currency(account, given, invoice)
    if invoice is not None and code != invoice["currency"]:
        raise conflict("You cannot combine currencies on a single invoice.", param="currency")
    now = account.now()
    description = given.get("description")
    if description is None and price is not None:
        description = account.objects["products"][price["product"]]["name"]
    item = lines.new_item(
        account,
        customer["id"],
        amount=amount,
        currency=code,
        description=description,
        period=_span(given, now),
        quantity=quantity,
        price=price,
        metadata=metadata,
        tax_rates=rates,
        subscription=given.get("subscription"),
        invoice=invoice["id"] if invoice else None,
        discountable=given.get("discountable", amount >= 0),
        discounts=discounts.wanted(account, given.get("discounts"), code),
    )
    discounts.belongs(account, item["discounts"], item["customer"], invoice_item=item["id"])
    if invoice is not None:
        with account.changing(invoice, "invoice.updated"):
            invoices.add_lines(account, invoice, [lines.of_invoice_item(account, item)])
    return item


def _must_be_draft(invoice: Obj | None) -> None:
    if invoice is not None and invoice["status"] != "draft":
        raise conflict("You can only add items to a draft invoice.", "invoice_not_editable", "invoice")


def _currency(account: Account, given: Obj, invoice: Obj | None) -> str:
    if "currency" in given:
        return catalogue.currency(given["currency"])
    return str(invoice["currency"]) if invoice else account.currency


def _span(given: Obj, otherwise: int) -> Obj:
    asked = given.get("period") or {}
    start, end = asked.get("start", otherwise), asked.get("end", otherwise)
    if end < start:
        raise invalid("The period must not end before it starts.", "period[end]")
    return {"start": start, "end": end}


def _priced(account: Account, given: Obj, quantity: int) -> tuple[Obj | None, int]:
    if "pricing" in given:
        price: Any = account.get("prices", given["pricing"].get("price"), "pricing[price]")
        if price["type"] != "one_time":
            raise invalid(
                "The price specified is set to `type=recurring` but this field only accepts prices with "
                "`type=one_time`.",
                "pricing[price]",
            )
        return price, catalogue.line_amount(price, quantity)
    if "price_data" in given:
        price = catalogue.new_price(account, given["price_data"], "price_data")
        return price, catalogue.line_amount(price, quantity)
    if "amount" in given:
        return None, int(given["amount"])
    if "unit_amount_decimal" in given:
        catalogue.amount_given({"unit_amount_decimal": given["unit_amount_decimal"]}, str)
        return None, tax.rounded(Decimal(given["unit_amount_decimal"]) * quantity)
    raise required("amount")


def _item(call: Call) -> Obj:
    return call.account.get("invoiceitems", call.path["invoiceitem"], "invoiceitem", status=404)


def _update(call: Call) -> Obj:
    item = _item(call)
    rewrite(call.account, item, call.given)
    return item


def rewrite(account: Account, item: Obj, given: Obj, where: str = "") -> None:
    """Change an item that waits or is on a draft, and its line with it."""
    invoice = account.find("invoices", item["invoice"] or "")
    if invoice is not None and invoice["status"] != "draft":
        raise conflict("The invoice of this item is finalized.", "invoice_not_editable")
    for name in _LEFT_OUT:
        if name in given:
            raise left_out(name, f"{where}[{name}]" if where else name)
    if item["proration"] and set(given) & {*_PRICED, "discountable"}:
        raise conflict("You cannot change the amount of an invoice item that is a proration.")
    metadata = merged(item["metadata"], given.get("metadata"))
    rates = tax.chosen_rates(account, given)
    reduced = discounts.wanted(account, given.get("discounts"), item["currency"], own=item["discounts"])
    discounts.belongs(account, reduced, item["customer"], invoice_item=item["id"])
    with account.changing(item, "invoiceitem.updated"):
        item["metadata"] = metadata
        _reprice(account, item, given)
        if "description" in given:
            item["description"] = given["description"] or None
        if "discounts" in given:
            item["discounts"] = reduced
        if "discountable" in given:
            item["discountable"] = given["discountable"]
        if "period" in given:
            item["period"] = _span(given, account.now())
        if "tax_rates" in given:
            item["tax_rates"] = rates
    if invoice is not None:
        with account.changing(invoice, "invoice.updated"):
            _relined(account, invoice, item)
            lines.add_up(account, invoice)


def _reprice(account: Account, item: Obj, given: Obj) -> None:
    if not set(given) & set(_PRICED):
        return
    quantity: int = given["quantity"] if "quantity" in given else item["quantity"]
    wanted = dict(given)
    details = (item["pricing"] or {}).get("price_details")
    if not set(given) & (set(_PRICED) - {"quantity"}):
        # only the quantity changes: at the price there is, or the amount there is for each
        if details:
            wanted["pricing"] = {"price": details["price"]}
        else:
            wanted["unit_amount_decimal"] = str(Decimal(item["amount"]) / (item["quantity"] or 1))
    price, amount = _priced(account, wanted, quantity)
    if price is not None and price["currency"] != item["currency"]:
        raise conflict("You cannot combine currencies on a single invoice.", param="currency")
    item |= {
        "amount": amount,
        "net_amount": None if item["discountable"] else amount,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "pricing": lines.pricing(price, amount, quantity),
    }


def _relined(account: Account, invoice: Obj, item: Obj) -> None:
    """The line of an item as the item is now, under the id it has."""
    for place, line in enumerate(invoice["lines"]["data"]):
        if line_item_of(line) == item["id"]:
            made = lines.of_invoice_item(account, item)
            invoice["lines"]["data"][place] = made | {"id": line["id"], "invoice": invoice["id"]}


def line_item_of(line: Obj) -> str | None:
    """The invoice item that a line comes from."""
    parent = line["parent"] or {}
    details = parent.get("invoice_item_details") or parent.get("subscription_item_details") or {}
    found: str | None = details.get("invoice_item")
    return found


def _list(call: Call) -> Obj:
    given, found = call.given, list(reversed(call.account.all("invoiceitems")))
    for name in ("customer", "invoice"):
        if name in given:
            found = [item for item in found if item[name] == given[name]]
    found = [item for item in found if in_range(item["date"], given.get("created"))]
    if "pending" in given:
        found = [item for item in found if (item["invoice"] is None) == given["pending"]]
    return page(found, given, call.url, "invoiceitems")


def _delete(call: Call) -> Obj:
    return take_away(call.account, _item(call))


def take_away(account: Account, item: Obj) -> Obj:
    """Delete an item that waits or is on a draft, and its line with it."""
    invoice = account.find("invoices", item["invoice"] or "")
    if invoice is not None and invoice["status"] != "draft":
        raise conflict("The invoice of this item is finalized.", "invoice_not_editable")
    account.emit("invoiceitem.deleted", item)
    del account.objects["invoiceitems"][item["id"]]
    if invoice is not None:
        _unlined(account, invoice, item)
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


def _unlined(account: Account, invoice: Obj, item: Obj) -> None:
    kept = [line for line in invoice["lines"]["data"] if line_item_of(line) != item["id"]]
    with account.changing(invoice, "invoice.updated"):
        invoice["lines"]["data"] = kept
        lines.add_up(account, invoice)


# -- several lines of a draft -------------------------------------------------------------------------------------
def _draft_of(call: Call) -> Obj:
    invoice = invoice_of(call)
    if invoice["status"] != "draft":
        raise conflict("Finalized invoices can't be updated in this way.", "invoice_not_editable", "lines")
    return invoice


@contextmanager
def _together(call: Call) -> Iterator[Obj]:
    """The draft of the call, whose lines change all or not at all; its metadata with them."""
    account, invoice = call.account, _draft_of(call)
    own = [item for item in account.all("invoiceitems") if item["customer"] == invoice["customer"]]
    before = [(one, copy.deepcopy(one)) for one in (invoice, *own)]
    metadata = merged(invoice["metadata"], call.given.get("invoice_metadata"))
    try:
        yield invoice
    except Refusal:
        for one, was in before:
            one.clear()
            one.update(was)
            account.objects["invoices" if one is invoice else "invoiceitems"].setdefault(one["id"], one)
        raise
    with account.changing(invoice, "invoice.updated"):
        invoice["metadata"] = metadata


def _add_lines(call: Call) -> Obj:
    account = call.account
    with _together(call) as invoice:
        for place, one in enumerate(call.given["lines"]):
            where = f"lines[{place}]"
            if "invoice_item" not in one:
                make(account, {**one, "customer": invoice["customer"], "invoice": invoice["id"]}, where)
                continue
            item = account.get("invoiceitems", one["invoice_item"], f"{where}[invoice_item]")
            if item["invoice"] is not None or item["customer"] != invoice["customer"]:
                raise conflict("The invoice item is assigned already.", param=f"{where}[invoice_item]")
            item["invoice"] = invoice["id"]
            with account.changing(invoice, "invoice.updated"):
                invoices.add_lines(account, invoice, [lines.of_invoice_item(account, item)])
    return invoice


def _named(account: Account, invoice: Obj, identifier: str, where: str) -> Obj:
    """The item behind a line of a draft; a line of a subscription's own period has none."""
    line = next((one for one in invoice["lines"]["data"] if one["id"] == identifier), None)
    if line is None:
        raise missing("line_items", identifier, f"{where}[id]")
    item = account.find("invoiceitems", line_item_of(line) or "")
    if item is None:
        raise left_out("changing the lines of a subscription's own period", f"{where}[id]")
    return item


def _update_lines(call: Call) -> Obj:
    with _together(call) as invoice:
        for place, one in enumerate(call.given["lines"]):
            where = f"lines[{place}]"
            item = _named(call.account, invoice, one["id"], where)
            rewrite(call.account, item, {k: v for k, v in one.items() if k != "id"}, where)
    return invoice


def _remove_lines(call: Call) -> Obj:
    account = call.account
    with _together(call) as invoice:
        for place, one in enumerate(call.given["lines"]):
            item = _named(account, invoice, one["id"], f"lines[{place}]")
            if one["behavior"] == "delete":
                take_away(account, item)
            else:
                item["invoice"] = None
                _unlined(account, invoice, item)
    return invoice


def routes(desk: Desk) -> None:
    """Declare the endpoints of invoice items, and of the lines of a draft."""
    one, many = "/v1/invoiceitems/{invoiceitem}", "/v1/invoices/{invoice}"
    desk.v1("GET", "/v1/invoiceitems", "invoiceitems.list", _list)
    desk.v1("POST", "/v1/invoiceitems", "invoiceitems.create", _create)
    desk.v1("GET", one, "invoiceitems.retrieve", _item)
    desk.v1("POST", one, "invoiceitems.update", _update)
    desk.v1("DELETE", one, "invoiceitems.delete", _delete)
    desk.v1("POST", many + "/add_lines", "invoices.add_lines", _add_lines)
    desk.v1("POST", many + "/update_lines", "invoices.update_lines", _update_lines)
    desk.v1("POST", many + "/remove_lines", "invoices.remove_lines", _remove_lines)
