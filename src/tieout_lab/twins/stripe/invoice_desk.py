"""The endpoints of invoices and their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout_lab.twins.stripe import catalogue, discounts, invoices, lines, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import chosen, page
from tieout_lab.twins.stripe.search import search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

_LEFT_OUT = (
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
    tax.not_beside_automatic(given)
    rates = tax.chosen_rates(account, given, "default_tax_rates")
    metadata = merged({}, given.get("metadata"))
    subscription = (
        account.get("subscriptions", given["subscription"], "subscription")
        if "subscription" in given
        else None
    )
    code: str = catalogue.currency(given.get("currency") or customer["currency"] or account.currency)
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
        discounts=discounts.wanted(account, given.get("discounts"), code),
    )
    discounts.belongs(account, invoice["discounts"], customer["id"], invoice=invoice["id"])
    if "due_date" in given:
        invoice["_days"] = None
    invoice["effective_at"] = given.get("effective_at")
    for name in ("default_payment_method", "number", "statement_descriptor"):
        if name in given:
            invoice[name] = given[name] or None
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
    rates = tax.chosen_rates(account, given, "default_tax_rates", own=invoice["default_tax_rates"])
    reduced = discounts.wanted(account, given.get("discounts"), invoice["currency"], own=invoice["discounts"])
    discounts.belongs(account, reduced, invoice["customer"], invoice=invoice["id"])
    with account.changing(invoice, "invoice.updated"):
        invoice["metadata"] = metadata
        if "discounts" in given:
            invoice["discounts"] = reduced
        for name in (
            "auto_advance",
            "collection_method",
            "custom_fields",
            "default_payment_method",
            "description",
            "due_date",
            "effective_at",
            "footer",
            "number",
            "statement_descriptor",
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
    if "auto_advance" in call.given and invoice["status"] == "draft":
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


def routes(desk: Desk) -> None:
    """Declare the endpoints of invoices and their lines."""
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
