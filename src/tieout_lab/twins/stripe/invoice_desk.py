"""The endpoints of invoices, their lines and invoice items."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import catalogue, invoices, lines, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import chosen, page, search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

_LEFT_OUT = (
    "discounts",
    "from_invoice",
    "on_behalf_of",
    "shipping_cost",
    "shipping_details",
    "transfer_data",
)
# What stays changeable after finalisation (the metadata does, too).
_LATE_FIELDS = frozenset({"metadata", "auto_advance", "expand", "default_payment_method", "payment_settings"})


def invoice_of(call: Call) -> Obj:
    """The invoice in the path."""
    return call.account.get("invoices", call.path["invoice"], "invoice", status=404)


def _list(call: Call) -> Obj:
    equal = ("collection_method", "customer", "status")
    found = chosen(call.account.all("invoices"), call.given, *equal, times=("created", "due_date"))
    if "subscription" in call.given:
        found = [invoice for invoice in found if invoice["_subscription"] == call.given["subscription"]]
    return page(found, call.given, call.url, "invoices")


def _due_rules(given: Obj, method: str) -> None:
    if method == "send_invoice":
        if "days_until_due" in given and "due_date" in given:
            raise invalid("Only one of days_until_due and due_date.", "due_date", "parameters_exclusive")
    elif "days_until_due" in given or "due_date" in given:
        raise invalid("days_until_due and due_date need collection_method=send_invoice.", "days_until_due")


def _create(call: Call) -> Obj:
    account, given = call.account, call.given
    for name in _LEFT_OUT:
        if name in given:
            raise left_out(name, name)
    if "customer" not in given:
        raise required("customer")
    customer = account.get("customers", given["customer"], "customer")
    method = given.get("collection_method", "charge_automatically")
    _due_rules(given, method)
    rates = [
        account.get("tax_rates", rate, "default_tax_rates") for rate in given.get("default_tax_rates") or []
    ]
    metadata = merged({}, given.get("metadata"))
    subscription = (
        account.get("subscriptions", given["subscription"], "subscription")
        if "subscription" in given
        else None
    )
    code = catalogue.currency(given.get("currency") or customer["currency"] or account.currency)
    invoice = invoices.draft(
        account,
        customer,
        code,
        "manual",
        subscription=subscription,
        method=method,
        days=given.get("days_until_due", 30 if method == "send_invoice" else None),
        due_date=given.get("due_date"),
        automatic_tax=(given.get("automatic_tax") or {}).get("enabled", False),
        auto_advance=given.get("auto_advance", False),
        custom_fields=given.get("custom_fields") or None,
        description=given.get("description"),
        footer=given.get("footer"),
        metadata=metadata,
        rates=rates,
    )
    if "due_date" in given:
        invoice["_days"] = None
    invoice["effective_at"] = given.get("effective_at")
    if given.get("pending_invoice_items_behavior") == "include":
        own = subscription["id"] if subscription else None
        invoices.add_lines(account, invoice, invoices.take_items(account, invoice, own))
    if invoice["auto_advance"]:
        _finalize_later(account, invoice)
    account.emit("invoice.created", invoice)
    return invoice


def _finalize_later(account: Account, invoice: Obj) -> None:
    invoice["automatically_finalizes_at"] = account.now() + account.settings.finalize_after_seconds
    account.await_time(invoice["automatically_finalizes_at"], "finalize", invoice["id"])


def _update(call: Call) -> Obj:
    account, given, invoice = call.account, call.given, invoice_of(call)
    late = sorted(set(given) - _LATE_FIELDS)
    if invoice["status"] != "draft" and late:
        raise conflict(
            f"Finalized invoices can't be updated in this way: {', '.join(late)}.",
            "invoice_not_editable",
            late[0],
        )
    for name in _LEFT_OUT:
        if name in given:
            raise left_out(name, name)
    metadata = merged(invoice["metadata"], given.get("metadata"))
    rates = [
        account.get("tax_rates", rate, "default_tax_rates") for rate in given.get("default_tax_rates") or []
    ]
    with account.changing(invoice, "invoice.updated"):
        invoice["metadata"] = metadata
        for name in (
            "auto_advance",
            "collection_method",
            "custom_fields",
            "description",
            "due_date",
            "effective_at",
            "footer",
        ):
            if name in given:
                invoice[name] = given[name] if given[name] != "" else None
        if "days_until_due" in given:
            invoice["_days"] = given["days_until_due"]
            invoice["due_date"] = invoice["created"] + given["days_until_due"] * invoices.DAY
        if "automatic_tax" in given:
            invoice["automatic_tax"] = invoices.automatic_tax(given["automatic_tax"]["enabled"])
        if "default_tax_rates" in given:
            invoice["default_tax_rates"] = rates
            invoice["_rates"] = [rate["id"] for rate in rates]
        if invoice["status"] == "draft":
            lines.add_up(account, invoice)
            if given.get("auto_advance") and invoice["automatically_finalizes_at"] is None:
                _finalize_later(account, invoice)
    return invoice


def _delete(call: Call) -> Obj:
    invoice = invoice_of(call)
    if invoice["status"] != "draft" or invoice["_subscription"]:
        raise conflict(
            "You can only delete draft invoices that are not of a subscription.", "invoice_not_editable"
        )
    for item in call.account.all("invoiceitems"):
        if item["invoice"] == invoice["id"]:
            item["invoice"] = None
    call.account.emit("invoice.deleted", invoice)
    del call.account.objects["invoices"][invoice["id"]]
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def _finalize(call: Call) -> Obj:
    from tieout_lab.twins.stripe.payments import collect

    invoice = invoice_of(call)
    if not invoice["lines"]["data"] and invoice["status"] == "draft":
        raise conflict("Nothing to invoice for customer", "invoice_no_customer_line_items")
    if "auto_advance" in call.given:
        invoice["auto_advance"] = call.given["auto_advance"]
    invoices.finalize(call.account, invoice)
    if invoice["auto_advance"]:
        collect(call.account, invoice)
    return invoice


def _send(call: Call) -> Obj:
    invoice = invoice_of(call)
    if invoice["collection_method"] != "send_invoice":
        raise conflict("You can only send invoices of collection_method=send_invoice.")
    if invoice["status"] == "draft":
        return invoices.finalize(call.account, invoice)
    if invoice["status"] == "void":
        raise conflict("You can't send a void invoice.")
    call.account.emit("invoice.sent", invoice)
    return invoice


def _lines(call: Call) -> Obj:
    # a document's lines keep their own order, which is not newest first
    shown = call.account.find("previews", call.path["invoice"]) or invoice_of(call)
    return page(shown["lines"]["data"], call.given, call.url, "line_items")


def _update_line(call: Call) -> Obj:
    invoice = invoice_of(call)
    line = next((one for one in invoice["lines"]["data"] if one["id"] == call.path["line_item_id"]), None)
    if line is None:
        raise invalid(
            f"No such invoice line item: '{call.path['line_item_id']}'", "line_item_id", "resource_missing"
        )
    late = sorted(set(call.given) - {"metadata", "expand"})
    if late:
        raise (
            conflict("Finalized invoices can't be updated in this way.", "invoice_not_editable", late[0])
            if invoice["status"] != "draft"
            else left_out(f"changing {late[0]} of a line", late[0])
        )
    metadata = merged({} if line["_item"] else line["metadata"], call.given.get("metadata"))
    with call.account.changing(invoice, "invoice.updated"):
        line["metadata"] = metadata
        line["_own_metadata"] = True
    return dict(line)


# -- invoice items ------------------------------------------------------------------------------------------------
def _create_item(call: Call) -> Obj:
    account, given = call.account, call.given
    for name in ("discounts", "quantity_decimal"):
        if name in given:
            raise left_out(name, name)
    if "customer" not in given:
        raise required("customer")
    customer = account.get("customers", given["customer"], "customer")
    invoice = account.get("invoices", given["invoice"], "invoice") if "invoice" in given else None
    if invoice is not None and invoice["status"] != "draft":
        raise conflict("You can only add items to a draft invoice.", "invoice_not_editable", "invoice")
    metadata = merged({}, given.get("metadata"))
    rates = [account.get("tax_rates", rate, "tax_rates") for rate in given.get("tax_rates") or []]
    quantity = given.get("quantity", 1)
    price, amount = _priced(account, given, quantity)
    code = price["currency"] if price else catalogue.currency(given.get("currency") or account.currency)
    if invoice is not None and code != invoice["currency"]:
        raise conflict("You cannot combine currencies on a single invoice.", param="currency")
    now = account.now()
    span = given.get("period") or {"start": now, "end": now}
    description = given.get("description")
    if description is None and price is not None:
        description = account.objects["products"][price["product"]]["name"]
    item = lines.new_item(
        account,
        customer["id"],
        amount=amount,
        currency=code,
        description=description,
        period={"start": span.get("start", now), "end": span.get("end", now)},
        quantity=quantity,
        price=price,
        metadata=metadata,
        tax_rates=rates,
        subscription=given.get("subscription"),
        invoice=invoice["id"] if invoice else None,
    )
    if invoice is not None:
        with account.changing(invoice, "invoice.updated"):
            invoices.add_lines(account, invoice, [lines.of_invoice_item(account, item)])
    return item


def _priced(account: Account, given: Obj, quantity: int) -> tuple[Obj | None, int]:
    if "pricing" in given:
        price: Any = account.get("prices", given["pricing"].get("price"), "pricing[price]")
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


def _list_items(call: Call) -> Obj:
    found = chosen(call.account.all("invoiceitems"), call.given, "customer", "invoice")
    if "pending" in call.given:
        found = [item for item in found if (item["invoice"] is None) == call.given["pending"]]
    return page(found, call.given, call.url, "invoiceitems")


def _delete_item(call: Call) -> Obj:
    account, item = call.account, _item(call)
    invoice = account.find("invoices", item["invoice"] or "")
    if invoice is not None and invoice["status"] != "draft":
        raise conflict("The invoice of this item is finalized.", "invoice_not_editable")
    account.emit("invoiceitem.deleted", item)
    del account.objects["invoiceitems"][item["id"]]
    if invoice is not None:
        kept = [
            line
            for line in invoice["lines"]["data"]
            if ((line["parent"] or {}).get("invoice_item_details") or {}).get("invoice_item") != item["id"]
        ]
        with account.changing(invoice, "invoice.updated"):
            invoice["lines"]["data"] = kept
            lines.add_up(account, invoice)
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


def routes(desk: Desk) -> None:
    """Declare the endpoints of invoices and invoice items."""
    one = "/v1/invoices/{invoice}"
    desk.v1("GET", "/v1/invoices", "invoices.list", _list)
    desk.v1("POST", "/v1/invoices", "invoices.create", _create)
    desk.v1("GET", "/v1/invoices/search", "invoices.search", lambda c: search(c, "invoices"))
    desk.v1("GET", one, "invoices.retrieve", invoice_of)
    desk.v1("POST", one, "invoices.update", _update)
    desk.v1("DELETE", one, "invoices.delete", _delete)
    desk.v1("POST", one + "/finalize", "invoices.finalize", _finalize)
    desk.v1("POST", one + "/send", "invoices.send", _send)
    desk.v1("POST", one + "/void", "invoices.void", lambda c: invoices.void(c.account, invoice_of(c)))
    desk.v1(
        "POST",
        one + "/mark_uncollectible",
        "invoices.mark_uncollectible",
        lambda c: invoices.write_off(c.account, invoice_of(c)),
    )
    desk.v1("GET", one + "/lines", "invoices.lines", _lines)
    desk.v1("POST", one + "/lines/{line_item_id}", "invoices.update_line", _update_line)
    desk.v1("GET", "/v1/invoiceitems", "invoiceitems.list", _list_items)
    desk.v1("POST", "/v1/invoiceitems", "invoiceitems.create", _create_item)
    desk.v1("GET", "/v1/invoiceitems/{invoiceitem}", "invoiceitems.retrieve", _item)
    desk.v1("DELETE", "/v1/invoiceitems/{invoiceitem}", "invoiceitems.delete", _delete_item)
