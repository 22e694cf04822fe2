"""Invoice previews: what would be billed, found out on a copy of the account that is thrown away."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import (
    cycles,
    discounts,
    invoice_items,
    invoices,
    subscription_desk,
    subscriptions,
)
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import Refusal, left_out, required

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

_LEFT_OUT = ("customer_details", "on_behalf_of", "schedule", "schedule_details")
_LEFT_OUT_DETAILS = ("billing_schedules", "pause", "resume_at")
_CHANGES = (
    "cancel_at",
    "cancel_at_period_end",
    "items",
    "proration_behavior",
    "proration_date",
    "trial_end",
)
_NEW = (
    "billing_cycle_anchor",
    "billing_mode",
    "cancel_at",
    "default_tax_rates",
    "items",
    "proration_behavior",
    "trial_end",
)
_KEPT = 20  # previews whose lines can still be paged


def _scratch(account: Account) -> Account:
    """The same account, of which nothing is remembered and nobody is told."""
    made = copy.copy(account)
    kinds = {kind: copy.deepcopy(objects) for kind, objects in account.objects.items() if kind != "events"}
    made.objects = defaultdict(dict, kinds)
    made.due = list(account.due)
    made.announce, made.held = (lambda *_: None), None
    return made


def preview(call: Call) -> Obj:
    """`POST /v1/invoices/create_preview`."""
    account, given = call.account, call.given
    details = given.get("subscription_details") or {}
    for names, where in ((_LEFT_OUT, given), (_LEFT_OUT_DETAILS, details)):
        for name in names:
            if name in where:
                raise left_out(name, name)
    if given.get("preview_mode", "next") != "next":
        raise left_out("preview_mode recurring", "preview_mode")
    trial = _scratch(account)
    _waiting(trial, given)
    if "subscription" in given:
        reduced = {"discounts": given["discounts"]} if "discounts" in given else {}
        invoice = _of_subscription(trial, given["subscription"], details, reduced)
    elif "customer" not in given:
        raise required("customer")
    elif "items" in details:
        invoice = _of_new(trial, given, details)
    else:
        invoice = _of_customer(trial, given)
    if invoice is None:
        raise Refusal(404, "No upcoming invoices for customer", code="invoice_upcoming_none")
    shown = _as_preview(account, invoice)
    kept = account.objects["previews"]
    kept[shown["id"]] = shown
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]
    return shown


def _waiting(trial: Account, given: Obj) -> None:
    """The invoice items that the preview is to count on, new ones and changed ones."""
    owner = given.get("customer")
    if owner is None and "subscription" in given:
        owner = trial.get("subscriptions", given["subscription"], "subscription")["customer"]
    for place, one in enumerate(given.get("invoice_items") or []):
        where = f"invoice_items[{place}]"
        if "invoiceitem" in one:
            item = trial.get("invoiceitems", one["invoiceitem"], f"{where}[invoiceitem]")
            rest = {name: value for name, value in one.items() if name != "invoiceitem"}
            invoice_items.rewrite(trial, item, rest, where)
            continue
        wanted = {**one, "customer": owner}
        if "price" in wanted:
            wanted["pricing"] = {"price": wanted.pop("price")}
        invoice_items.make(trial, wanted, where)


def _of_subscription(trial: Account, identifier: str, details: Obj, reduced: Obj) -> Obj | None:
    """The next invoice of a subscription, as it is or as it would be changed."""
    subscription = trial.get("subscriptions", identifier, "subscription")
    known = set(trial.objects["invoices"])
    if details.get("cancel_now"):
        subscription_desk.cancel(trial, subscription, {"prorate": True, "invoice_now": True})
    elif changes := {name: details[name] for name in _CHANGES if name in details} | reduced:
        subscription_desk.change(trial, subscription, changes)
    if found := _made(trial, known):  # invoiced at once
        return found
    if subscription["status"] == "canceled":
        return None
    trial.moment = min(item["current_period_end"] for item in subscription["items"]["data"])
    cycles.STEPS["subscription"](trial, subscription["id"])
    return _made(trial, known)


def _of_new(trial: Account, given: Obj, details: Obj) -> Obj | None:
    """The first invoice of a subscription that would be made."""
    known = set(trial.objects["invoices"])
    wanted: dict[str, Any] = {name: details[name] for name in _NEW if name in details}
    if "start_date" in details and details["start_date"] != "now":
        wanted["backdate_start_date"] = details["start_date"]
    wanted |= {"customer": given["customer"], "collection_method": "send_invoice", "days_until_due": 0}
    for name in ("automatic_tax", "discounts"):
        if name in given:
            wanted[name] = given[name]
    subscriptions.create(trial, wanted)
    return _made(trial, known)


def _of_customer(trial: Account, given: Obj) -> Obj | None:
    """What waits for the customer's next invoice."""
    customer = trial.get("customers", given["customer"], "customer")
    code: str = (given.get("currency") or customer["currency"] or trial.currency).lower()
    reduced = discounts.wanted(trial, given.get("discounts"), code)
    enabled = (given.get("automatic_tax") or {}).get("enabled", False)
    invoice = invoices.draft(trial, customer, code, "upcoming", discounts=reduced, automatic_tax=enabled)
    waiting = invoices.take_items(trial, invoice, None)
    invoices.add_lines(trial, invoice, waiting)
    return invoice if waiting else None


def _made(trial: Account, known: set[str]) -> Obj | None:
    found = [invoice for key, invoice in trial.objects["invoices"].items() if key not in known]
    return found[-1] if found else None


def _as_preview(account: Account, invoice: Obj) -> Obj:
    """A draft under an id that no invoice will have."""
    identifier = account.new_id("upcoming_in")
    for line in invoice["lines"]["data"]:
        line["invoice"] = None
    return {
        **invoice,
        "id": identifier,
        "amount_paid": 0,
        "amount_remaining": invoice["amount_due"],
        "attempted": False,
        "effective_at": None,
        "ending_balance": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "lines": {**invoice["lines"], "url": f"/v1/invoices/{identifier}/lines"},
        "number": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(invoice["status_transitions"]),
        "_payments": [],
    }


def routes(desk: Desk) -> None:
    """Declare the endpoint of previews; their lines are paged like an invoice's."""
    desk.v1("POST", "/v1/invoices/create_preview", "invoices.preview", preview)
