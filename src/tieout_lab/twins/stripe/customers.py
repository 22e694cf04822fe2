"""Customers, their credit balance and its transactions."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import catalogue, tax_ids
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import invalid, left_out
from tieout_lab.twins.stripe.form import merged, value_of
from tieout_lab.twins.stripe.pages import chosen, page
from tieout_lab.twins.stripe.search import search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_PLAIN = ("business_name", "description", "email", "individual_name", "name", "phone", "preferred_locales")


def address(given: Any) -> Obj | None:
    """An address with all its parts, or None."""
    if not isinstance(given, dict):
        return None
    return {part: given.get(part) or None for part in ADDRESS}


def _shipping(given: Any) -> Obj | None:
    if not isinstance(given, dict):
        return None
    return {
        "address": address(given.get("address")),
        "carrier": None,
        "name": given.get("name"),
        "phone": given.get("phone"),
        "tracking_number": None,
    }


def _new(account: Account) -> Obj:
    identifier = account.new_id("cus", 14)
    prefix = hashlib.sha256(f"{account.id}|{identifier}".encode()).hexdigest()[:8].upper()
    return {
        "id": identifier,
        "object": "customer",
        "address": None,
        "balance": 0,
        "business_name": None,
        "created": account.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "individual_name": None,
        "invoice_prefix": prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": account.livemode,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        "_balances": {},
    }


def _check(given: Obj) -> None:
    email = value_of(given, "email")
    if email is not None and ("@" not in email or email != email.strip() or len(email) > 512):
        raise invalid(f"Invalid email address: {email}", "email", "email_invalid")
    shipped = (value_of(given, "shipping") or {}).get("address")
    for place, part in (("address", value_of(given, "address")), ("shipping[address]", shipped)):
        country = (part or {}).get("country")
        if country and not (len(country) == 2 and country.isascii() and country.isalpha()):
            raise invalid(
                f"Country '{country}' is unknown. Try using a 2-character alphanumeric country code instead, such as "
                "'US'.",
                f"{place}[country]",
                "country_code_invalid",
            )
    prefix = given.get("invoice_prefix")
    if prefix is not None and not re.fullmatch(r"[A-Z0-9]{3,12}", prefix):
        raise invalid("An invoice prefix is 3-12 uppercase letters or numbers.", "invoice_prefix")
    for name in ("test_clock", "source"):
        if name in given:
            raise left_out(name, name)


def _fill(account: Account, customer: Obj, given: Obj, metadata: dict[str, str]) -> None:
    for name in _PLAIN:
        if name in given:
            empty: Any = [] if name == "preferred_locales" else None
            customer[name] = empty if given[name] == "" else given[name]
    if "address" in given:
        customer["address"] = _joined(customer["address"], given["address"])
    if "shipping" in given:
        customer["shipping"] = _shipping(given["shipping"])
    if "invoice_settings" in given:
        for name, value in given["invoice_settings"].items():
            customer["invoice_settings"][name] = None if value == "" else value
    if "payment_method" in given:
        customer["invoice_settings"]["default_payment_method"] = given["payment_method"]
    if "tax_exempt" in given:
        customer["tax_exempt"] = given["tax_exempt"] or "none"
    if "invoice_prefix" in given:
        customer["invoice_prefix"] = given["invoice_prefix"]
    if "next_invoice_sequence" in given:
        customer["next_invoice_sequence"] = given["next_invoice_sequence"]
    customer["metadata"] = metadata
    if "balance" in given and given["balance"] != customer["balance"]:
        move_balance(
            account,
            customer,
            given["balance"] - customer["balance"],
            customer["currency"] or account.currency,
            "adjustment",
        )


def _joined(old: Obj | None, given: Any) -> Obj | None:
    """An address after an update: parts not named stay as they were."""
    if not isinstance(given, dict):
        return None
    return address({**(old or {}), **given})


def move_balance(account: Account, customer: Obj, amount: int, currency: str, kind: str, **more: Any) -> Obj:
    """Change the customer's balance (negative: credit in the customer's favour) and write it down."""
    balances = customer["_balances"]
    balances[currency] = balances.get(currency, 0) + amount
    if customer["currency"] is None:
        customer["currency"] = currency
    if customer["currency"] == currency:
        customer["balance"] = balances[currency]
    return account.put(
        "customer_balance_transactions",
        {
            "id": account.new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "checkout_session": None,
            "created": account.now(),
            "credit_note": more.get("credit_note"),
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": more.get("description"),
            "ending_balance": balances[currency],
            "invoice": more.get("invoice"),
            "livemode": account.livemode,
            "metadata": more.get("metadata", {}),
            "type": kind,
        },
    )


def owes(account: Account, customer: str, *, late: bool) -> None:
    """Say whether the last thing that befell an invoice of the customer was that it was not paid in time."""
    found = account.objects["customers"][customer]
    if found["delinquent"] != late and not found.get("deleted"):
        with account.changing(found, "customer.updated"):
            found["delinquent"] = late


# -- endpoints ----------------------------------------------------------------------------------------------------
def _create(call: Call) -> Obj:
    _check(call.given)
    metadata = merged({}, call.given.get("metadata"))
    customer = call.account.put("customers", _new(call.account))
    _fill(call.account, customer, call.given, metadata)
    call.account.emit("customer.created", customer)
    for tax_id in call.given.get("tax_id_data", []):
        tax_ids.add(call.account, customer, tax_id["type"], tax_id["value"])
    return customer


def _retrieve(call: Call) -> Obj:
    customer = call.account.get("customers", call.path["customer"], status=404)
    if customer.get("deleted"):
        return {"id": customer["id"], "object": "customer", "deleted": True}
    return customer


def _alive(call: Call) -> Obj:
    customer = call.account.get("customers", call.path["customer"], status=404)
    if customer.get("deleted"):
        raise invalid("This customer has been deleted.", "id", "resource_missing")
    return customer


def _update(call: Call) -> Obj:
    customer = _alive(call)
    _check(call.given)
    metadata = merged(customer["metadata"], call.given.get("metadata"))
    with call.account.changing(customer, "customer.updated"):
        _fill(call.account, customer, call.given, metadata)
    return customer


def _delete(call: Call) -> Obj:
    from tieout_lab.twins.stripe.subscriptions import end

    customer = _alive(call)
    for subscription in call.account.all("subscriptions"):
        if subscription["customer"] == customer["id"] and subscription["status"] != "canceled":
            end(call.account, subscription, "cancellation_requested")
    call.account.emit("customer.deleted", customer)
    customer["deleted"] = True
    return {"id": customer["id"], "object": "customer", "deleted": True}


def _list(call: Call) -> Obj:
    return page(chosen(call.account.all("customers"), call.given, "email"), call.given, call.url, "customers")


def _balance_create(call: Call) -> Obj:
    customer = _alive(call)
    code = catalogue.currency(call.given["currency"])
    with call.account.changing(customer, "customer.updated"):
        return move_balance(
            call.account,
            customer,
            call.given["amount"],
            code,
            "adjustment",
            description=value_of(call.given, "description"),
            metadata=merged({}, call.given.get("metadata")),
        )


def _balance_list(call: Call) -> Obj:
    customer = call.account.get("customers", call.path["customer"], status=404)
    own = [t for t in call.account.all("customer_balance_transactions") if t["customer"] == customer["id"]]
    return page(chosen(own, call.given, "invoice"), call.given, call.url, "customer_balance_transactions")


def _balance_retrieve(call: Call) -> Obj:
    return call.account.get(
        "customer_balance_transactions", call.path["transaction"], "transaction", status=404
    )


def _balance_update(call: Call) -> Obj:
    moved = _balance_retrieve(call)
    moved["metadata"] = merged(moved["metadata"], call.given.get("metadata"))
    if "description" in call.given:
        moved["description"] = value_of(call.given, "description")
    return moved


def routes(desk: Desk) -> None:
    """Declare the endpoints of customers."""
    one = "/v1/customers/{customer}"
    desk.v1("GET", "/v1/customers", "customers.list", _list)
    desk.v1("POST", "/v1/customers", "customers.create", _create)
    desk.v1("GET", "/v1/customers/search", "customers.search", lambda c: search(c, "customers"))
    desk.v1("GET", one, "customers.retrieve", _retrieve)
    desk.v1("POST", one, "customers.update", _update)
    desk.v1("DELETE", one, "customers.delete", _delete)
    desk.v1("GET", one + "/balance_transactions", "customer_balance.list", _balance_list)
    desk.v1("POST", one + "/balance_transactions", "customer_balance.create", _balance_create)
    desk.v1(
        "GET", one + "/balance_transactions/{transaction}", "customer_balance.retrieve", _balance_retrieve
    )
    desk.v1("POST", one + "/balance_transactions/{transaction}", "customer_balance.update", _balance_update)
