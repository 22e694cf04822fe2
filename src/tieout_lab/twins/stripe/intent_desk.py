"""The endpoints of payment intents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout_lab.twins.stripe import catalogue, currencies, intents, invoices
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import in_range, page
from tieout_lab.twins.stripe.search import search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk


def _intent(call: Call) -> Obj:
    return call.account.get("payment_intents", call.path["intent"], "intent", status=404)


def _create_intent(call: Call) -> Obj:
    account, given = call.account, call.given
    for name in ("amount", "currency"):
        if name not in given:
            raise required(name)
    if given["amount"] <= 0:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    currencies.check_charge(given["amount"], catalogue.currency(given["currency"]))
    if given.get("capture_method") == "manual":
        raise left_out("manual capture", "capture_method")
    if "customer" in given:
        account.get("customers", given["customer"], "customer")
    if given.get("confirm") and "payment_method" not in given:
        raise conflict(
            "You cannot confirm this PaymentIntent without a payment method.",
            "payment_intent_unexpected_state",
        )
    metadata = merged({}, given.get("metadata"))
    code = catalogue.currency(given["currency"])
    intent = intents.new_intent(
        account, given["amount"], code, given.get("customer"), given.get("description")
    )
    intent["metadata"] = metadata
    if "payment_method" in given:
        intent["payment_method"] = given["payment_method"]
        intent["status"] = "requires_confirmation"
    if given.get("confirm"):
        _confirm(account, intent, given.get("payment_method"))
    return intent


def _confirm(account: Account, intent: Obj, method: str | None) -> Obj:
    chosen = method or intent["payment_method"]
    if intent["status"] in {"succeeded", "canceled"}:
        raise conflict(
            f"This PaymentIntent's status is {intent['status']}.", "payment_intent_unexpected_state"
        )
    if chosen is None:
        raise conflict(
            "You cannot confirm this PaymentIntent without a payment method.",
            "payment_intent_unexpected_state",
        )
    intents.succeed(account, intent, chosen)
    for payment in account.all("invoice_payments"):
        if payment["payment"].get("payment_intent") == intent["id"] and payment["status"] == "open":
            invoice = account.objects["invoices"][payment["invoice"]]
            invoices.credit_payment(account, invoice, payment, intent["amount_received"])
    return intent


def _update_intent(call: Call) -> Obj:
    intent, given = _intent(call), call.given
    money = sorted({"amount", "currency", "customer", "payment_method"} & set(given))
    if money and intent["status"] in {"succeeded", "canceled"}:
        raise conflict(
            f"This PaymentIntent's {money[0]} could not be updated because it has a status of {intent['status']}.",
            "payment_intent_unexpected_state",
        )
    if "customer" in given:
        call.account.get("customers", given["customer"], "customer")
    currency = catalogue.currency(str(given.get("currency", intent["currency"])))
    if "amount" in given:
        currencies.check_charge(given["amount"], currency)
    intent |= {"amount": given.get("amount", intent["amount"]), "currency": currency}
    intent["customer"] = given.get("customer", intent["customer"])
    if given.get("payment_method"):
        intent["payment_method"] = given["payment_method"]
        intent["status"] = "requires_confirmation"
    return intents.update_metadata(call, intent, None, "description", "receipt_email")


def _cancel_intent(call: Call) -> Obj:
    intent = _intent(call)
    if intent["status"] in {"succeeded", "canceled"}:
        raise conflict(
            f"You cannot cancel a PaymentIntent of status {intent['status']}.",
            "payment_intent_unexpected_state",
        )
    if any(
        p["is_default"] and p["payment"].get("payment_intent") == intent["id"]
        for p in call.account.all("invoice_payments")
    ):
        raise conflict(
            "An invoice's default PaymentIntent cannot be canceled directly.",
            "payment_intent_unexpected_state",
        )
    intents.cancel(call.account, intent, call.given.get("cancellation_reason"))
    return intent


def _list_intents(call: Call) -> Obj:
    found = [
        i
        for i in reversed(call.account.all("payment_intents"))
        if i["customer"] == call.given.get("customer", i["customer"])
        and in_range(i["created"], call.given.get("created"))
    ]
    return page(found, call.given, call.url, "payment_intents")


def routes(desk: Desk) -> None:
    """Declare the endpoints of payment intents."""
    one = "/v1/payment_intents/{intent}"
    desk.v1("GET", "/v1/payment_intents", "payment_intents.list", _list_intents)
    desk.v1("POST", "/v1/payment_intents", "payment_intents.create", _create_intent)
    desk.v1(
        "GET", "/v1/payment_intents/search", "payment_intents.search", lambda c: search(c, "payment_intents")
    )
    desk.v1("GET", one, "payment_intents.retrieve", _intent)
    desk.v1(
        "POST",
        one,
        "payment_intents.update",
        _update_intent,
    )
    desk.v1(
        "POST",
        one + "/confirm",
        "payment_intents.confirm",
        lambda c: _confirm(c.account, _intent(c), c.given.get("payment_method")),
    )
    desk.v1("POST", one + "/cancel", "payment_intents.cancel", _cancel_intent)
