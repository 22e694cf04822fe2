"""Payment intents, charges and refunds. Invoices know them, not they invoices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import methods, settlements
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import Refusal, conflict, invalid, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import chosen, page
from tieout_lab.twins.stripe.search import search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

CARD = "pm_card_visa"


def new_intent(
    account: Account, amount: int, currency: str, customer: str | None, description: str | None
) -> Obj:
    """A payment intent that waits for a payment method."""
    identifier = account.new_id("pi")
    intent = account.put(
        "payment_intents",
        {
            "id": identifier,
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_details": {},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None,
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": "automatic",
            "client_secret": f"{identifier}_secret_{account.new_id('s')[2:]}",
            "confirmation_method": "automatic",
            "created": account.now(),
            "currency": currency,
            "customer": customer,
            "customer_account": None,
            "description": description,
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": account.livemode,
            "managed_payments": {"enabled": False},
            "metadata": {},
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_configuration_details": None,
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "processing": None,
            "receipt_email": None,
            "review": None,
            "setup_future_usage": None,
            "shipping": None,
            "source": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "requires_payment_method",
            "transfer_data": None,
            "transfer_group": None,
        },
    )
    account.emit("payment_intent.created", intent)
    return intent


def succeed(account: Account, intent: Obj, method: str) -> Obj:
    """Charge an intent by a payment method; a declining one leaves a failed charge and raises card_declined."""
    good = not methods.declines(account, method)
    intent["payment_method"] = method
    charge = _new_charge(account, intent, method, good=good)
    intent["latest_charge"] = charge["id"]
    if not good:
        intent["status"] = "requires_payment_method"
        intent["payment_method"] = None
        intent["last_payment_error"] = {
            "charge": charge["id"],
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://docs.stripe.com/error-codes/card-declined",
            "message": "Your card was declined.",
            "type": "card_error",
        }
        account.emit("charge.failed", charge)
        account.emit("payment_intent.payment_failed", intent)
        raise Refusal(
            402,
            "Your card was declined.",
            code="card_declined",
            kind="card_error",
            decline_code="generic_decline",
            charge=charge["id"],
        )
    intent["status"] = "succeeded"
    intent["amount_received"] = intent["amount"]
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)
    return charge


def cancel(account: Account, intent: Obj, reason: str | None) -> None:
    """Cancel an intent that is still open."""
    if intent["status"] in {"succeeded", "canceled"}:
        return
    intent["status"] = "canceled"
    intent["canceled_at"] = account.now()
    intent["cancellation_reason"] = reason
    account.emit("payment_intent.canceled", intent)


def _new_charge(account: Account, intent: Obj, method: str, *, good: bool) -> Obj:
    customer = account.find("customers", intent["customer"] or "") or {}
    identifier = account.new_id("ch")
    charge: Obj = {
        "id": identifier,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if good else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": {
            "address": dict(customer.get("address") or {}) or None,
            "email": customer.get("email"),
            "name": customer.get("name"),
            "phone": customer.get("phone"),
            "tax_id": None,
        },
        "calculated_statement_descriptor": None,
        "captured": good,
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None if good else "card_declined",
        "failure_message": None if good else "Your card was declined.",
        "fraud_details": {},
        "livemode": account.livemode,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": _outcome(good=good),
        "paid": good,
        "payment_intent": intent["id"],
        "payment_method": method,
        "payment_method_details": {"card": _card(intent["amount"]), "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{identifier}" if good else None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded" if good else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }
    if good:
        amount, currency = intent["amount"], intent["currency"]
        fee = settlements.charge_fee(account, amount, currency)
        moved = settlements.move(account, amount, currency, "charge", identifier, fee)
        charge["balance_transaction"] = moved["id"]
    return account.put("charges", charge)


def _outcome(*, good: bool) -> Obj:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if good else "declined_by_network",
        "reason": None if good else "generic_decline",
        "risk_level": "normal",
        "seller_message": "Payment complete." if good else "The bank did not say why it declined.",
        "type": "authorized" if good else "issuer_declined",
    }


def _card(amount: int) -> Obj:
    return {
        "amount_authorized": amount,
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": "twinvisa4242",
        "funding": "credit",
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "network": "visa",
        "three_d_secure": None,
        "wallet": None,
    }


# -- refunds ------------------------------------------------------------------------------------------------------
def refund_charge(
    account: Account, charge: Obj, amount: int | None, reason: str | None, metadata: Obj
) -> Obj:
    """Give back all or part of a charge; never more than is left of it."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if not charge["paid"]:
        raise conflict(f"Charge {charge['id']} has not been paid.", "charge_not_refundable", "charge")
    if any(one["charge"] == charge["id"] and one["status"] != "won" for one in account.all("disputes")):
        raise conflict(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            "charge_disputed",
            "charge",
        )
    if left <= 0:
        raise conflict(
            f"Charge {charge['id']} has already been refunded.", "charge_already_refunded", "charge"
        )
    wanted = left if amount is None else amount
    if wanted <= 0:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if wanted > left:
        raise conflict(
            f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left})", param="amount"
        )
    identifier = account.new_id("re")
    refund = account.put(
        "refunds",
        {
            "id": identifier,
            "object": "refund",
            "amount": wanted,
            "balance_transaction": settlements.move(
                account, -wanted, charge["currency"], "refund", identifier
            )["id"],
            "charge": charge["id"],
            "created": account.now(),
            "currency": charge["currency"],
            "customer": charge["customer"],
            "customer_account": None,
            "destination_details": {
                "card": {"reference_status": "pending", "type": "refund"},
                "type": "card",
            },
            "metadata": metadata,
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )
    account.emit("refund.created", refund)
    with account.changing(charge, "charge.refunded"):
        charge["amount_refunded"] += wanted
        charge["refunded"] = charge["amount_refunded"] >= charge["amount_captured"]
    return refund


def charge_of(account: Account, given: Obj) -> Obj:
    """The charge that a refund's parameters name."""
    if "charge" in given:
        charge = account.get("charges", given["charge"], "charge")
        if "payment_intent" in given and charge["payment_intent"] != given["payment_intent"]:
            raise invalid("The charge is not of that payment_intent.", "payment_intent")
        return charge
    if "payment_intent" not in given:
        raise required("charge")
    intent = account.get("payment_intents", given["payment_intent"], "payment_intent")
    if not intent["latest_charge"] or intent["status"] != "succeeded":
        raise conflict(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    return account.get("charges", intent["latest_charge"], "payment_intent")


def _create_refund(call: Call) -> Obj:
    metadata = merged({}, call.given.get("metadata"))
    charge = charge_of(call.account, call.given)
    return refund_charge(call.account, charge, call.given.get("amount"), call.given.get("reason"), metadata)


def _refund(call: Call) -> Obj:
    return call.account.get("refunds", call.path["refund"], "refund", status=404)


def _cancel_refund(call: Call) -> Obj:
    """Only a refund that waits for the customer's bank details can be cancelled, and no refund of a card does."""
    refund = _refund(call)
    raise conflict(f"Refund {refund['id']} of status {refund['status']} can't be canceled.", param="refund")


def _list_refunds(call: Call) -> Obj:
    found = chosen(call.account.all("refunds"), call.given, "charge", "payment_intent")
    return page(found, call.given, call.url, "refunds")


# -- plain reading, metadata ----------------------------------------------------------------------------------------
def update_metadata(call: Call, obj: Obj, event: str | None, *fields: str) -> Obj:
    """Change an object's metadata (and named plain fields) and emit the event, if there is one for it."""
    metadata: Any = merged(obj["metadata"], call.given.get("metadata"))
    with call.account.changing(obj, event):
        obj["metadata"] = metadata
        for name in fields:
            if name in call.given:
                obj[name] = call.given[name] if call.given[name] != "" else None
    return obj


def _charge(call: Call) -> Obj:
    return call.account.get("charges", call.path["charge"], status=404)


def _list_charges(call: Call) -> Obj:
    found = chosen(call.account.all("charges"), call.given, "customer", "payment_intent", "transfer_group")
    return page(found, call.given, call.url, "charges")


def routes(desk: Desk) -> None:
    """Declare the endpoints of charges and refunds."""
    desk.v1("GET", "/v1/charges", "charges.list", _list_charges)
    desk.v1("GET", "/v1/charges/search", "charges.search", lambda c: search(c, "charges"))
    desk.v1("GET", "/v1/charges/{charge}", "charges.retrieve", _charge)
    desk.v1(
        "POST",
        "/v1/charges/{charge}",
        "charges.update",
        lambda c: update_metadata(c, _charge(c), "charge.updated", "description", "receipt_email"),
    )
    desk.v1("GET", "/v1/refunds", "refunds.list", _list_refunds)
    desk.v1("POST", "/v1/refunds", "refunds.create", _create_refund)
    desk.v1("GET", "/v1/refunds/{refund}", "refunds.retrieve", _refund)
    desk.v1("POST", "/v1/refunds/{refund}/cancel", "refunds.cancel", _cancel_refund)
    desk.v1(
        "POST",
        "/v1/refunds/{refund}",
        "refunds.update",
        lambda c: update_metadata(c, _refund(c), "refund.updated"),
    )
