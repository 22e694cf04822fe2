"""Coupons, and the discounts that they become on subscriptions, their items, invoices and invoice items.

A discount of a line is taken before those of its invoice; what is left of an amount is what the next one finds. An
amount is spread over the lines in proportion to what is left of them, and never makes one negative.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import calendar, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import Refusal, conflict, invalid, left_out, missing, required
from tieout_lab.twins.stripe.form import merged, value_of
from tieout_lab.twins.stripe.pages import chosen, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk


# -- what is given --------------------------------------------------------------------------------------------------
def wanted(
    account: Account, given: Any, currency: str, param: str = "discounts", own: list[str] | None = None
) -> list[str]:
    """The ids of the discounts that a parameter names; a coupon becomes a new one. `own` are those already there."""
    check(account, given, currency, param, own)
    return [
        one["discount"]
        if "discount" in one
        else _new_discount(account, account.objects["coupons"][one["coupon"]])["id"]
        for one in given or []
    ]


def check(
    account: Account, given: Any, currency: str, param: str = "discounts", own: list[str] | None = None
) -> None:
    """Refuse discounts that cannot be had, before anything is changed."""
    for place, one in enumerate(given or []):
        where = f"{param}[{place}]"
        if "promotion_code" in one:
            raise left_out("promotion codes: name the coupon", f"{where}[promotion_code]")
        if "discount" in one:
            if one["discount"] not in (own or []) and account.find("discounts", one["discount"]) is None:
                text = f"No such discount: '{one['discount']}'"
                raise invalid(text, f"{where}[discount]", "resource_missing")
        elif "coupon" in one:
            coupon = account.get("coupons", one["coupon"], f"{where}[coupon]")
            _redeemable(account, coupon, currency, f"{where}[coupon]")
        else:
            raise required(f"{where}[coupon]")


def _redeemable(account: Account, coupon: Obj, currency: str, param: str) -> None:
    if not _valid(account, coupon):
        raise invalid(f"Coupon expired: {coupon['id']}", param, "coupon_expired")
    if coupon["currency"] not in (None, currency):
        raise invalid(
            f"The coupon {coupon['id']} is in {coupon['currency']}, and this is in {currency}.", param
        )


def _valid(account: Account, coupon: Obj) -> bool:
    too_late = coupon["redeem_by"] is not None and account.now() > coupon["redeem_by"]
    too_often = (
        coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]
    )
    return not (too_late or too_often or coupon.get("deleted"))


def _new_discount(account: Account, coupon: Obj) -> Obj:
    now = account.now()
    end = None
    if coupon["duration"] == "repeating":
        months = {"interval": "month", "interval_count": coupon["duration_in_months"]}
        end = calendar.boundary(now, months, 1)
    coupon["times_redeemed"] += 1
    coupon["valid"] = _valid(account, coupon)
    return account.put(
        "discounts",
        {
            "id": account.new_id("di"),
            "object": "discount",
            "checkout_session": None,
            "customer": None,
            "customer_account": None,
            "end": end,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": now,
            "subscription": None,
            "subscription_item": None,
        },
    )


def belongs(account: Account, ids: list[str], customer: str, **to: str) -> None:
    """Say of new discounts to whom and to what they belong, and tell of them."""
    for identifier in ids:
        discount = account.objects["discounts"][identifier]
        if discount["customer"] is None:
            discount |= {"customer": customer, **to}
            account.emit("customer.discount.created", discount)


def running(account: Account, ids: list[str]) -> list[str]:
    """Those discounts that have not ended by now."""
    kept = []
    for identifier in ids:
        end = account.objects["discounts"][identifier]["end"]
        if end is None or account.now() < end:
            kept.append(identifier)
    return kept


def used_once(account: Account, holder: Obj) -> None:
    """An invoice was made: the holder's discounts that are for one invoice alone, or have ended, are over."""
    kept = []
    for identifier in running(account, holder["discounts"]):
        coupon = _coupon(account, account.objects["discounts"][identifier])
        if coupon["duration"] != "once":
            kept.append(identifier)
    for identifier in holder["discounts"]:
        if identifier not in kept:
            account.emit("customer.discount.deleted", account.objects["discounts"][identifier])
    holder["discounts"] = kept


def _coupon(account: Account, discount: Obj) -> Obj:
    found: Obj = account.objects["coupons"][discount["source"]["coupon"]]
    return found


def part_left(account: Account, ids: list[str], product: str) -> Decimal:
    """What percentages leave of a price: prorations are net of them. An amount leaves a proration alone (assumed)."""
    left = Decimal(1)
    for identifier in running(account, ids):
        coupon = _coupon(account, account.objects["discounts"][identifier])
        if coupon["percent_off"] is not None and _concerns(coupon, product):
            left *= 1 - Decimal(str(coupon["percent_off"])) / 100
    return left


def _concerns(coupon: Obj, product: str | None) -> bool:
    only = (coupon["_applies_to"] or {}).get("products")
    return not only or product in only


# -- what is taken --------------------------------------------------------------------------------------------------
def take(account: Account, invoice: Obj) -> int:
    """Write the discount of every line and of the invoice; answers what the lines' own discounts took."""
    lines = invoice["lines"]["data"]
    for line in lines:
        line["discount_amounts"] = []
    for line in lines:
        for identifier in line["discounts"]:
            _take(account, identifier, [line], invoice["currency"])
    own = sum(int(part["amount"]) for line in lines for part in line["discount_amounts"])
    for identifier in invoice["discounts"]:
        _take(account, identifier, lines, invoice["currency"])
    sums: dict[str, int] = {}
    for line in lines:
        line["pretax_credit_amounts"] = [_pretax(part) for part in line["discount_amounts"]]
        for part in line["discount_amounts"]:
            sums[part["discount"]] = sums.get(part["discount"], 0) + part["amount"]
    amounts = [{"amount": amount, "discount": identifier} for identifier, amount in sums.items()]
    invoice["total_discount_amounts"] = amounts
    invoice["total_pretax_credit_amounts"] = [_pretax(part) for part in amounts]
    return own


def _pretax(part: Obj) -> Obj:
    return {"amount": part["amount"], "discount": part["discount"], "type": "discount"}


def _take(account: Account, identifier: str, lines: list[Obj], currency: str) -> None:
    coupon = _coupon(account, account.objects["discounts"][identifier])
    places = [
        line for line in lines if line["discountable"] and net(line) > 0 and _concerns(coupon, _of(line))
    ]
    whole = sum(net(line) for line in places)
    if coupon["percent_off"] is not None:
        percent = Decimal(str(coupon["percent_off"]))
        parts = [tax.rounded(net(line) * percent / 100, currency) for line in places]
    else:
        amount = min(coupon["amount_off"], whole)
        parts, given, seen = [], 0, 0
        for line in places:  # counted from the sum, so that the parts are exactly the amount
            seen += net(line)
            so_far = tax.rounded(Decimal(amount) * seen / whole, currency)
            parts.append(so_far - given)
            given = so_far
    for line, part in zip(places, parts, strict=True):
        if part:
            line["discount_amounts"].append({"amount": part, "discount": identifier})


def net(line: Obj) -> int:
    """A line's amount without its discounts."""
    return int(line["amount"]) - sum(int(part["amount"]) for part in line["discount_amounts"])


def _of(line: Obj) -> str | None:
    details: Obj = (line["pricing"] or {}).get("price_details") or {}
    return details.get("product")


def credited(line: Obj, amount: int, before: list[Obj], *, last: bool) -> list[Obj]:
    """The discounts in a part of a line that is credited; the part that uses the line up takes all that is left."""
    found = []
    for part in line["discount_amounts"]:
        gone = sum(int(e["amount"]) for e in before if e["discount"] == part["discount"])
        left = part["amount"] - gone
        share = tax.rounded(Decimal(part["amount"]) * amount / line["amount"], line["currency"])
        taken = left if last else min(share, left)
        if taken:
            found.append({"amount": taken, "discount": part["discount"]})
    return found


# -- endpoints of coupons -------------------------------------------------------------------------------------------
def _create(call: Call) -> Obj:
    account, given = call.account, call.given
    _check(account, given)
    metadata = merged({}, given.get("metadata"))
    percent = given.get("percent_off")
    coupon = account.put(
        "coupons",
        {
            "id": given.get("id") or account.new_id("c")[2:10],
            "object": "coupon",
            "amount_off": given.get("amount_off"),
            "created": account.now(),
            "currency": given["currency"].lower() if "amount_off" in given else None,
            "duration": given.get("duration", "once"),
            "duration_in_months": given.get("duration_in_months"),
            "livemode": account.livemode,
            "max_redemptions": given.get("max_redemptions"),
            "metadata": metadata,
            "name": given.get("name"),
            "percent_off": float(percent) if percent is not None else None,
            "redeem_by": given.get("redeem_by"),
            "times_redeemed": 0,
            "valid": True,
            "_applies_to": given.get("applies_to"),
        },
    )
    account.emit("coupon.created", coupon)
    return coupon


def _check(account: Account, given: Obj) -> None:
    if "currency_options" in given:
        raise left_out("currency_options", "currency_options")
    if given.get("id") and account.find("coupons", given["id"]):
        raise Refusal(400, "Coupon already exists.", code="resource_already_exists", param="id")
    if ("amount_off" in given) == ("percent_off" in given):
        raise invalid("You must pass either amount_off or percent_off.", "percent_off")
    if "amount_off" in given:
        from tieout_lab.twins.stripe.catalogue import currency

        if "currency" not in given:
            raise required("currency")
        currency(given["currency"])
        if given["amount_off"] <= 0:
            raise invalid("Invalid positive integer", "amount_off", "parameter_invalid_integer")
    elif not 0 < Decimal(given["percent_off"]) <= 100:
        raise invalid("Invalid decimal: percent_off must be larger than 0, and at most 100.", "percent_off")
    repeating = given.get("duration") == "repeating"
    if repeating != ("duration_in_months" in given):
        if repeating:
            raise required("duration_in_months")
        raise invalid("duration_in_months is for coupons of duration repeating.", "duration_in_months")
    if repeating and given["duration_in_months"] < 1:
        raise invalid("Invalid positive integer", "duration_in_months", "parameter_invalid_integer")
    for product in (given.get("applies_to") or {}).get("products") or []:
        account.get("products", product, "applies_to[products]")


def _retrieve(call: Call) -> Obj:
    coupon = call.account.find("coupons", call.path["coupon"])
    if coupon is None or coupon.get("deleted"):
        raise missing("coupons", call.path["coupon"], "coupon", status=404)
    coupon["valid"] = _valid(call.account, coupon)
    return coupon


def _update(call: Call) -> Obj:
    coupon = _retrieve(call)
    metadata = merged(coupon["metadata"], call.given.get("metadata"))
    with call.account.changing(coupon, "coupon.updated"):
        coupon["metadata"] = metadata
        if "name" in call.given:
            coupon["name"] = value_of(call.given, "name")
    return coupon


def _delete(call: Call) -> Obj:
    coupon = _retrieve(call)
    call.account.emit("coupon.deleted", coupon)
    coupon["deleted"] = True  # what was redeemed goes on
    return {"id": coupon["id"], "object": "coupon", "deleted": True}


def _list(call: Call) -> Obj:
    return page(chosen(call.account.all("coupons"), call.given), call.given, call.url, "coupons")


def _end_of_subscription(call: Call) -> Obj:
    """`DELETE /v1/subscriptions/{id}/discount`: the discount is over."""
    account = call.account
    subscription = account.get("subscriptions", call.path["subscription_exposed_id"], status=404)
    if not subscription["discounts"]:
        raise conflict(
            f"No active discount for subscription: {subscription['id']}", "resource_missing", "discount"
        )
    ended = account.objects["discounts"][subscription["discounts"][-1]]
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["discounts"] = []
    account.emit("customer.discount.deleted", ended)
    return {**ended, "deleted": True}


def routes(desk: Desk) -> None:
    """Declare the endpoints of coupons and of a subscription's discount."""
    one = "/v1/coupons/{coupon}"
    desk.v1("GET", "/v1/coupons", "coupons.list", _list)
    desk.v1("POST", "/v1/coupons", "coupons.create", _create)
    desk.v1("GET", one, "coupons.retrieve", _retrieve)
    desk.v1("POST", one, "coupons.update", _update)
    desk.v1("DELETE", one, "coupons.delete", _delete)
    desk.v1(
        "DELETE",
        "/v1/subscriptions/{subscription_exposed_id}/discount",
        "subscriptions.end_discount",
        _end_of_subscription,
    )
