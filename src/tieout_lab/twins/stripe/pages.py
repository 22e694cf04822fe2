"""What answers carry beside the object itself: pages of lists, expanded references."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from tieout_lab.twins.stripe.accounts import Account, Obj, listed, plain, shown
from tieout_lab.twins.stripe.errors import Refusal, invalid, missing

MAX_LIMIT = 100
MAX_DEPTH = 4

# Fields that hold an identifier and may be asked for whole.
REFERENCES = {
    "balance_transaction": "balance_transactions",
    "charge": "charges",
    "credit_note": "credit_notes",
    "customer": "customers",
    "coupon": "coupons",
    "customer_balance_transaction": "customer_balance_transactions",
    "default_payment_method": "payment_methods",
    "default_price": "prices",
    "discount": "discounts",
    "discounts": "discounts",
    "dispute": "disputes",
    "failure_balance_transaction": "balance_transactions",
    "payout": "payouts",
    "invoice": "invoices",
    "latest_charge": "charges",
    "latest_invoice": "invoices",
    "payment_intent": "payment_intents",
    "payment_method": "payment_methods",
    "payment_record": "payment_records",
    "plan": "prices",
    "price": "prices",
    "product": "products",
    "refund": "refunds",
    "schedule": "subscription_schedules",
    "subscription": "subscriptions",
}
NEVER_SET = frozenset({
    "application", "on_behalf_of", "test_clock", "default_source", "pending_setup_intent", "latest_revision",
    "from_invoice", "transfer_data", "review", "source_transfer", "application_fee", "transfer",
    "account_tax_ids", "tax_code", "source", "account", "credit_balance_transaction",
    "generated_sepa_debit", "generated_sepa_debit_mandate", "mandate", "rule",
    "setup_attempt", "cancellation_policy", "customer_communication", "customer_signature",
    "duplicate_charge_documentation", "receipt", "refund_policy", "service_documentation",
    "shipping_documentation", "uncategorized_file",
})  # fmt: skip


# -- lists --------------------------------------------------------------------------------------------------------
def page(
    items: Iterable[Obj], given: Obj, url: str, kind: str, fits: Callable[[Obj], bool] = lambda _: True
) -> Obj:
    """A page of a list; `items` come newest first, and no more of them are looked at than the page needs.

    Takes limit, starting_after and ending_before; a cursor need not itself fit the filter `fits`."""
    limit = checked_limit(given)
    after, before = given.get("starting_after"), given.get("ending_before")
    if after and before:
        raise invalid("starting_after and ending_before exclude one another.", code="parameters_exclusive")
    stream = iter(items)
    if before:
        newer = [item for item in _until(stream, before, kind, "ending_before") if fits(item)]
        return {"object": "list", "data": newer[-limit:], "has_more": len(newer) > limit, "url": url}
    if after:
        deque(_until(stream, after, kind, "starting_after"), maxlen=0)
    found = list(islice(filter(fits, stream), limit + 1))
    return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": url}


def checked_limit(given: Obj) -> int:
    """How many a page may hold."""
    limit: int = given.get("limit", 10)
    if not 1 <= limit <= MAX_LIMIT:
        text = f"limit must be between 1 and {MAX_LIMIT}: {limit}"
        raise invalid(text, "limit", "parameter_invalid_integer")
    return limit


def _until(stream: Iterator[Obj], identifier: str, kind: str, param: str) -> Iterator[Obj]:
    """What comes before an object; refuses if it never comes."""
    for item in stream:
        if item["id"] == identifier:
            return
        yield item
    raise missing(kind, identifier, param)


_COMPARED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def in_range(value: int | None, wanted: Any) -> bool:
    """Whether a time fits a filter: an exact second or {gt, gte, lt, lte}."""
    if wanted is None:
        return True
    if value is None:
        return False
    if isinstance(wanted, int):
        return value == wanted
    return all(_COMPARED[name](value, limit) for name, limit in wanted.items())


def chosen(items: Iterable[Obj], given: Obj, *equal: str, times: tuple[str, ...] = ("created",)) -> list[Obj]:
    """Newest first, filtered by equal fields and by times."""
    found = [
        item
        for item in items
        if all(item.get(name) == given[name] for name in equal if name in given)
        and all(in_range(item.get(name), given.get(name)) for name in times)
    ]
    found.reverse()
    return found


# -- expanding ----------------------------------------------------------------------------------------------------
def present(account: Account, result: Obj, expand: list[str]) -> Obj:
    """The answer's body: the object, or the page of objects, with the references that were asked for."""
    if result.get("object") in {"list", "search_result"}:
        answer = {**result, "data": [shown(item) for item in result["data"]]}
    else:
        answer = shown(result)
    if expand:
        answer = plain(answer)  # it is going to be changed, and may share parts with what is kept
    for path in expand:
        parts = path.split(".")
        if len(parts) > MAX_DEPTH:
            raise invalid(
                f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}", "expand"
            )
        _expand(account, answer, parts, path)
    return answer


def _expand(account: Account, here: Any, parts: list[str], path: str) -> None:
    if isinstance(here, list):
        for inner in here:
            _expand(account, inner, parts, path)
        return
    name, rest = parts[0], parts[1:]
    if not isinstance(here, dict):
        raise _not_expandable(path)
    include = INCLUDABLE.get((str(here.get("object")), name))
    if include is not None and not isinstance(here.get(name), dict):
        here[name] = include(account, here)
    if rest and name not in here and (rest[-1] in NEVER_SET or rest[-1] in REFERENCES):
        return  # a part that this object does not have
    value = here.get(name)
    if isinstance(value, str) and name in REFERENCES:
        here[name] = value = _whole(account, name, value)
    elif isinstance(value, list) and name in REFERENCES:
        here[name] = value = [_whole(account, name, one) for one in value]
    elif (name not in here and name not in NEVER_SET and name not in REFERENCES) or (
        value is not None and not isinstance(value, dict | list) and include is None and name not in NEVER_SET
    ):
        raise _not_expandable(path)
    if rest and value is not None:
        _expand(account, value, rest, path)


def _whole(account: Account, name: str, value: Any) -> Any:
    """The object that a reference names; what is an object already, or unknown, stays as it is."""
    found = account.find(REFERENCES[name], value) if isinstance(value, str) else None
    if found is None:
        return value
    if name == "plan":
        from tieout_lab.twins.stripe.catalogue import plan_of

        return plan_of(found)
    return _deleted(found) if found.get("deleted") and name != "coupon" else shown(found)


def _deleted(obj: Obj) -> Obj:
    return {"id": obj["id"], "object": obj["object"], "deleted": True}


def _not_expandable(path: str) -> Refusal:
    return invalid(f"This property cannot be expanded ({path}).", "expand")


def _payments(account: Account, invoice: Obj) -> Obj:
    data = [shown(p) for p in account.payments_of(invoice)]
    return listed(data, f"/v1/invoice_payments?invoice={invoice['id']}")


def _off_stripe(account: Account, invoice: Obj) -> int:
    return sum(
        int(payment["amount_paid"] or 0)
        for payment in account.payments_of(invoice)
        if payment["payment"]["type"] == "payment_record" and payment["status"] == "paid"
    )


def _secret(account: Account, invoice: Obj) -> Obj | None:
    for payment in account.payments_of(invoice):
        intent = account.find("payment_intents", payment["payment"].get("payment_intent", ""))
        if payment["is_default"] and intent is not None:
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _subscriptions(account: Account, customer: Obj) -> Obj:
    live = [
        shown(s)
        for s in account.all("subscriptions")
        if s["customer"] == customer["id"] and s["status"] != "canceled"
    ]
    return listed(live[::-1][:10], f"/v1/customers/{customer['id']}/subscriptions") | {
        "has_more": len(live) > 10
    }


def _tax_ids(account: Account, customer: Obj) -> Obj:
    data = [shown(t) for t in account.all("tax_ids") if t["customer"] == customer["id"]]
    return listed(data[::-1], f"/v1/customers/{customer['id']}/tax_ids")


def _refunds(account: Account, charge: Obj) -> Obj:
    data = [shown(r) for r in account.all("refunds") if r["charge"] == charge["id"]]
    return listed(data[::-1], f"/v1/charges/{charge['id']}/refunds")


def _nothing(_account: Account, _obj: Obj) -> None:
    return None


def _tiers(account: Account, price: Obj) -> list[Obj] | None:
    tiers = (account.find("prices", price["id"]) or {}).get("_tiers")
    if not tiers:
        return None
    found = []
    for tier in tiers:
        one: Obj = {"up_to": None if tier["up_to"] == "inf" else tier["up_to"]}
        for name in ("flat_amount", "unit_amount"):
            one[name] = tier.get(name)
            exact = tier.get(f"{name}_decimal", tier.get(name))
            one[f"{name}_decimal"] = None if exact is None else str(exact)
        found.append(one)
    return found


def _own_currency(price: Obj) -> Obj:
    """A price has no other currency here than its own."""
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    return {price["currency"]: {name: price[name] for name in names}}


def _credits(account: Account, customer: Obj) -> Obj:
    balances = (account.find("customers", customer["id"]) or {}).get("_balances", {})
    return dict(balances)


INCLUDABLE: dict[tuple[str, str], Callable[[Account, Obj], Any]] = {
    ("invoice", "payments"): _payments,
    ("invoice", "amount_paid_off_stripe"): _off_stripe,
    ("invoice", "confirmation_secret"): _secret,
    ("customer", "subscriptions"): _subscriptions,
    ("customer", "sources"): lambda _, c: listed([], f"/v1/customers/{c['id']}/sources"),
    ("customer", "tax_ids"): _tax_ids,
    ("customer", "cash_balance"): _nothing,
    ("customer", "tax"): lambda _, c: _tax_location(c),
    ("customer", "invoice_credit_balance"): _credits,
    ("charge", "refunds"): _refunds,
    ("coupon", "applies_to"): lambda account, c: (account.find("coupons", c["id"]) or {}).get("_applies_to"),
    ("price", "currency_options"): lambda _, price: _own_currency(price),
    ("price", "tiers"): _tiers,
    ("charge", "failure_balance_transaction"): _nothing,
}


def _tax_location(customer: Obj) -> Obj:
    shipping, address = (customer.get("shipping") or {}).get("address"), customer.get("address")
    place = shipping or address or {}
    source = "shipping_destination" if shipping else "billing_address"
    if not place.get("country"):
        return {"automatic_tax": "unrecognized_location", "ip_address": None, "provider": "stripe"}
    location = {"country": place["country"], "source": source, "state": place.get("state")}
    return {"automatic_tax": "supported", "ip_address": None, "location": location, "provider": "stripe"}
