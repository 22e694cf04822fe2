"""Payments of invoices: by card, by payment record, attached or out of band."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout_lab.twins.stripe import intents, invoices, records
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.customers import owes
from tieout_lab.twins.stripe.errors import Refusal, conflict, invalid
from tieout_lab.twins.stripe.pages import in_range, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

PAYABLE = ("open", "uncollectible")


def method_of(account: Account, invoice: Obj) -> str | None:
    """The payment method an automatic collection would use."""
    subscription = account.find("subscriptions", invoice["_subscription"] or "") or {}
    customer = account.objects["customers"][invoice["customer"]]
    own: str | None = invoice.get("default_payment_method") or subscription.get("default_payment_method")
    return own or customer["invoice_settings"]["default_payment_method"] or customer["default_source"]


def pay_by_card(account: Account, invoice: Obj, method: str, amount: int | None = None) -> Obj:
    """The customer pays an invoice, or part of it, by card. Answers the invoice payment."""
    if invoice["status"] not in PAYABLE:
        raise conflict(f"Invoice is {invoice['status']}", "status_transition_invalid")
    left = invoice["amount_remaining"]
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise invalid(f"amount: between 1 and {left}", "amount")
    invoice["attempt_count"] += 1
    waiting = invoices.open_default(account, invoice)
    if wanted == left and waiting is not None:
        payment = waiting
        intent = account.objects["payment_intents"][waiting["payment"]["payment_intent"]]
    else:
        intent = intents.new_intent(
            account, wanted, invoice["currency"], invoice["customer"], f"Invoice {invoice['number']}"
        )
        reference = {"type": "payment_intent", "payment_intent": intent["id"]}
        payment = invoices.new_payment(account, invoice, reference, wanted)
    try:
        intents.succeed(account, intent, method)
    except Refusal:
        invoice["attempted"] = True
        account.emit("invoice.payment_failed", invoice)
        raise
    invoices.credit_payment(account, invoice, payment, wanted)
    return payment


def collect(account: Account, invoice: Obj) -> None:
    """Automatic collection of a finalised invoice; a decline leaves it open and its subscription past due."""
    if invoice["collection_method"] != "charge_automatically" or invoice["status"] != "open":
        return
    method = method_of(account, invoice)
    try:
        if method is None:
            invoice["attempted"] = True
            invoice["attempt_count"] += 1
            account.emit("invoice.payment_failed", invoice)
            raise Refusal(402, "no payment method")
        pay_by_card(account, invoice, method)
    except Refusal:
        owes(account, invoice["customer"], late=True)
        subscription = account.find("subscriptions", invoice["_subscription"] or "")
        if subscription and subscription["status"] == "active":
            with account.changing(subscription, "customer.subscription.updated"):
                subscription["status"] = "past_due"


def detach(account: Account, invoice: Obj, payment: Obj) -> None:
    """Take a payment off its invoice: the money stays received, and what it had paid is open again. The API has it as a
    preview (2026-01-28)."""
    if payment["status"] != "paid" or invoice["status"] not in {"open", "paid"} or invoice["amount_overpaid"]:
        raise conflict(f"The payment cannot be detached from this {invoice['status']} invoice.")
    amount = payment["amount_paid"]
    with account.changing(invoice, "invoice.updated"):
        invoice["status"] = "open"
        invoice["status_transitions"]["paid_at"] = None
        invoice["amount_paid"] -= amount
        invoice["amount_remaining"] += amount
        invoice["_payments"].remove(payment["id"])
    del account.objects["invoice_payments"][payment["id"]]
    if invoices.open_default(account, invoice) is None:
        invoices.default_payment(account, invoice)
    else:
        invoices.follow(account, invoice)
    account.emit("invoice_payment.detached", payment)


# -- endpoints -----------------------------------------------------------------------------------------------------
def _attach(call: Call) -> Obj:
    account, given = call.account, call.given
    invoice = account.get("invoices", call.path["invoice"], "invoice", status=404)
    if ("payment_intent" in given) == ("payment_record" in given):
        raise invalid(
            "Exactly one of payment_intent and payment_record.", "payment_intent", "parameters_exclusive"
        )
    if invoice["status"] not in PAYABLE:
        raise conflict(f"Payments can only be attached to open invoices; this one is {invoice['status']}.")
    if "payment_record" in given:
        records.attach_record(
            account, invoice, account.get("payment_records", given["payment_record"], "payment_record")
        )
        return invoice
    intent = account.get("payment_intents", given["payment_intent"], "payment_intent")
    if intent["currency"] != invoice["currency"] or intent["customer"] not in (None, invoice["customer"]):
        raise conflict("The PaymentIntent is of another currency or customer.", param="payment_intent")
    if any(p["payment"].get("payment_intent") == intent["id"] for p in account.all("invoice_payments")):
        raise conflict("The PaymentIntent is already attached to an invoice.", param="payment_intent")
    reference = {"type": "payment_intent", "payment_intent": intent["id"]}
    payment = invoices.new_payment(account, invoice, reference, intent["amount"])
    if intent["status"] == "succeeded":
        invoices.credit_payment(account, invoice, payment, intent["amount_received"])
    return invoice


def _pay(call: Call) -> Obj:
    account, given = call.account, call.given
    invoice = account.get("invoices", call.path["invoice"], "invoice", status=404)
    method = given.get("payment_method") or given.get("source") or method_of(account, invoice)
    needed = invoice["status"] in ("draft", *PAYABLE) and invoice["amount_due"] > 0
    if method is None and needed and not given.get("paid_out_of_band"):
        raise conflict(
            "There is no default payment method on this invoice's customer.", "missing", "payment_method"
        )
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
        if invoice["status"] == "paid":  # nothing was due
            return invoice
    if invoice["status"] == "paid":
        raise conflict("Invoice is already paid", "status_transition_invalid")
    if invoice["status"] not in PAYABLE:
        raise conflict(f"Invoice is {invoice['status']}", "status_transition_invalid")
    if given.get("paid_out_of_band"):
        records.pay_out_of_band(account, invoice)
        return invoice
    pay_by_card(account, invoice, str(method))
    return invoice


def _list_payments(call: Call) -> Obj:
    given, wanted = call.given, call.given.get("payment")
    found = []
    account = call.account
    invoice = account.find("invoices", given.get("invoice", "")) or {"id": ""}
    every = account.payments_of(invoice) if "invoice" in given else account.all("invoice_payments")
    for payment in reversed(every):
        if "status" in given and payment["status"] != given["status"]:
            continue
        if wanted:
            kind = wanted["type"]
            if payment["payment"]["type"] != kind or payment["payment"].get(kind) != wanted.get(kind):
                continue
        if in_range(payment["created"], given.get("created")):
            found.append(payment)
    return page(found, given, call.url, "invoice_payments")


def _payment(call: Call) -> Obj:
    return call.account.get("invoice_payments", call.path["invoice_payment"], "invoice_payment", status=404)


def routes(desk: Desk) -> None:
    """Declare the endpoints of payments."""
    desk.v1("POST", "/v1/invoices/{invoice}/attach_payment", "invoices.attach_payment", _attach)
    desk.v1("POST", "/v1/invoices/{invoice}/pay", "invoices.pay", _pay)
    desk.v1("GET", "/v1/invoice_payments", "invoice_payments.list", _list_payments)
    desk.v1("GET", "/v1/invoice_payments/{invoice_payment}", "invoice_payments.retrieve", _payment)
