"""Payment methods: cards that are made of the vendor's test names, attached to customers and detached.

No number of a card is taken. A test name (`pm_card_visa`, `tok_visa`) can be used as it is wherever a payment method
is asked for; attaching one makes a payment method of the customer that pays, or declines, like the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.customers import address
from tieout_lab.twins.stripe.errors import conflict, left_out, missing, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

DECLINED = ("chargeDeclined", "chargeCustomerFail")


def declines(account: Account, method: str) -> bool:
    """Whether a payment by this method is declined."""
    known = account.find("payment_methods", method)
    return (str(known["_name"]) if known else method).endswith(DECLINED)


def _new(account: Account, name: str, given: Obj) -> Obj:
    billing = given.get("billing_details") or {}
    return account.put(
        "payment_methods",
        {
            "id": account.new_id("pm"),
            "object": "payment_method",
            "allow_redisplay": given.get("allow_redisplay", "unspecified"),
            "billing_details": {
                "address": address(billing.get("address") or {}),
                "email": billing.get("email") or None,
                "name": billing.get("name") or None,
                "phone": billing.get("phone") or None,
                "tax_id": None,
            },
            "card": {
                "brand": "visa",
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": None},
                "country": "US",
                "display_brand": "visa",
                "exp_month": 12,
                "exp_year": 2034,
                "fingerprint": "twinvisa4242",
                "funding": "credit",
                "generated_from": None,
                "last4": "4242",
                "networks": {"available": ["visa"], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": account.now(),
            "customer": None,
            "customer_account": None,
            "livemode": account.livemode,
            "metadata": merged({}, given.get("metadata")),
            "type": "card",
            "_name": name,
        },
    )


def _named(account: Account, identifier: str) -> Obj:
    """A payment method by id; a test name becomes one."""
    if identifier.startswith("pm_card_"):
        return _new(account, identifier, {})
    found = account.find("payment_methods", identifier)
    if found is None:
        raise missing("payment_methods", identifier, "payment_method", status=404)
    return found


def _create(call: Call) -> Obj:
    given = call.given
    if "type" not in given:
        raise required("type")
    if given["type"] != "card":
        raise left_out(f"payment methods of type {given['type']}", "type")
    name = (given.get("card") or {}).get("token")
    if name is None:
        raise left_out("cards by their number: give card[token]", "card[number]")
    return _new(call.account, name, given)


def _retrieve(call: Call) -> Obj:
    return _named(call.account, call.path["payment_method"])


def _update(call: Call) -> Obj:
    method = _retrieve(call)
    if method["customer"] is None:
        raise conflict("You must save this PaymentMethod to a customer before you can update it.")
    metadata = merged(method["metadata"], call.given.get("metadata"))
    with call.account.changing(method, "payment_method.updated"):
        method["metadata"] = metadata
    return method


def _attach(call: Call) -> Obj:
    if "customer" not in call.given:
        raise required("customer")
    customer = call.account.get("customers", call.given["customer"], "customer")
    method = _retrieve(call)
    if method["customer"] not in (None, customer["id"]):
        raise conflict(
            "The payment method you provided has already been attached to a customer.", param="payment_method"
        )
    method["customer"] = customer["id"]
    call.account.emit("payment_method.attached", method)
    return method


def _detach(call: Call) -> Obj:
    method = _retrieve(call)
    if method["customer"] is None:
        raise conflict(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = call.account.objects["customers"][method["customer"]]
    method["customer"] = None
    if customer["invoice_settings"]["default_payment_method"] == method["id"]:
        customer["invoice_settings"]["default_payment_method"] = None
    call.account.emit("payment_method.detached", method)
    return method


def _list(call: Call) -> Obj:
    wanted = {
        name: call.given[name] for name in ("customer", "type", "allow_redisplay") if name in call.given
    }
    if "customer" in call.path:
        wanted["customer"] = call.account.get("customers", call.path["customer"], status=404)["id"]
    elif "customer" not in wanted:
        wanted["customer"] = None
    every: list[Obj] = call.account.all("payment_methods")[::-1]
    found = [one for one in every if all(one[name] == value for name, value in wanted.items())]
    return page(found, call.given, call.url, "payment_methods")


def _of_customer(call: Call) -> Obj:
    found: Any = call.account.find("payment_methods", call.path["payment_method"])
    if found is None or found["customer"] != call.path["customer"]:
        raise missing("payment_methods", call.path["payment_method"], "payment_method", status=404)
    return dict(found)


def routes(desk: Desk) -> None:
    """Declare the endpoints of payment methods."""
    one, own = "/v1/payment_methods/{payment_method}", "/v1/customers/{customer}/payment_methods"
    desk.v1("GET", "/v1/payment_methods", "payment_methods.list", _list)
    desk.v1("POST", "/v1/payment_methods", "payment_methods.create", _create)
    desk.v1("GET", one, "payment_methods.retrieve", _retrieve)
    desk.v1("POST", one, "payment_methods.update", _update)
    desk.v1("POST", one + "/attach", "payment_methods.attach", _attach)
    desk.v1("POST", one + "/detach", "payment_methods.detach", _detach)
    desk.v1("GET", own, "customers.payment_methods", _list)
    desk.v1("GET", own + "/{payment_method}", "customers.payment_method", _of_customer)
