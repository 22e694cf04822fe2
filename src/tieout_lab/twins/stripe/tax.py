"""Tax as billing decides it: automatic by the customer's place, or by the tax rates that the caller named.

Automatic rates: California 7.25 %, New York 8.875 %, Japan 10 %, elsewhere nothing is collected. Tax is exclusive,
rounded half up on each line.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid
from tieout_lab.twins.stripe.form import UNSET, empty, merged
from tieout_lab.twins.stripe.pages import chosen, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

# (country, state) -> percentage, jurisdiction, level, tax type, display name
AUTOMATIC: dict[tuple[str, str | None], tuple[str, str, str, str, str]] = {
    ("US", "CA"): ("7.25", "California", "state", "sales_tax", "Sales tax"),
    ("US", "NY"): ("8.875", "New York", "state", "sales_tax", "Sales tax"),
    ("JP", None): ("10", "Japan", "country", "jct", "Consumption tax"),
}
_STATES = {"CALIFORNIA": "CA", "NEW YORK": "NY"}
_BY_COUNTRY = {"US": "sales_tax", "CA": "gst", "AU": "gst", "JP": "jct"}


# Currencies without decimals that the vendor still takes in hundredths.
ALWAYS_ZERO = ("isk", "ugx")


def rounded(amount: Decimal, currency: str = "") -> int:
    """Half up to the smallest unit; of a currency that is kept with two decimals that are always zero, to the unit."""
    step = 100 if currency in ALWAYS_ZERO else 1
    return int((amount / step).quantize(Decimal(1), rounding=ROUND_HALF_UP)) * step


def place_of(customer: Obj) -> tuple[str, str | None] | None:
    """Where the customer is for tax: shipping address, else billing address; None without a country."""
    for address in ((customer.get("shipping") or {}).get("address"), customer.get("address")):
        if address and address.get("country"):
            state = (address.get("state") or "").strip().upper()
            return str(address["country"]).upper(), _STATES.get(state, state) or None
    return None


def require_place(customer: Obj) -> None:
    """Automatic tax needs to know where the customer is."""
    if place_of(customer) is None:
        raise conflict(
            "The customer's location isn't recognized. Set a valid customer address in order to automatically "
            "calculate tax.",
            "customer_tax_location_invalid",
        )


def automatic_rate(account: Account, customer: Obj) -> tuple[Obj, str]:
    """The tax rate of the customer's place and the reason for it."""
    country, state = place_of(customer) or ("", None)
    known = AUTOMATIC.get((country, state)) or AUTOMATIC.get((country, None))
    if customer.get("tax_exempt") == "exempt":
        return _rate(account, country, state, None), "customer_exempt"
    if customer.get("tax_exempt") == "reverse":
        return _rate(account, country, state, None), "reverse_charge"
    return _rate(account, country, state, known), "standard_rated" if known else "not_collecting"


def _rate(
    account: Account, country: str, state: str | None, known: tuple[str, str, str, str, str] | None
) -> Obj:
    percent, jurisdiction, level, tax_type, name = known or (
        "0",
        state or country,
        "state" if state else "country",
        _BY_COUNTRY.get(country, "vat"),
        "Tax",
    )
    own_state = state if level == "state" else None
    for rate in account.all("tax_rates"):
        if rate.get("_automatic") == (country, own_state, percent):
            return rate
    rate = new_rate(account, name, percent, inclusive=False)
    rate |= {
        "country": country or None,
        "effective_percentage": rate["percentage"],
        "jurisdiction": jurisdiction or None,
        "jurisdiction_level": level,
        "state": own_state,
        "tax_type": tax_type,
        "active": False,  # rates of automatic tax cannot be chosen by hand
        "_automatic": (country, own_state, percent),
    }
    return rate


def new_rate(account: Account, name: str, percent: str, *, inclusive: bool) -> Obj:
    """A tax rate; `percent` as decimal text."""
    return account.put(
        "tax_rates",
        {
            "id": account.new_id("txr"),
            "object": "tax_rate",
            "active": True,
            "country": None,
            "created": account.now(),
            "description": None,
            "display_name": name,
            "effective_percentage": None,
            "flat_amount": None,
            "inclusive": inclusive,
            "jurisdiction": None,
            "jurisdiction_level": None,
            "livemode": account.livemode,
            "metadata": {},
            "percentage": float(percent),
            "rate_type": "percentage",
            "state": None,
            "tax_type": None,
            "_percent": percent,
        },
    )


def taxed(amount: int, rate: Obj, reason: str, currency: str = "") -> Obj:
    """The tax entry of one line under one rate."""
    percent = Decimal(str(rate["_percent"])) / 100
    if rate["inclusive"]:
        tax = rounded(amount - amount / (1 + percent), currency)
        taxable = amount - tax
    else:
        tax, taxable = rounded(amount * percent, currency), amount
    return {
        "amount": tax,
        "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
        "tax_rate_details": {"tax_rate": rate["id"]},
        "taxability_reason": reason,
        "taxable_amount": 0 if reason == "not_collecting" else taxable,
        "type": "tax_rate_details",
    }


def line_taxes(account: Account, document: Obj, customer: Obj, amount: int, rates: list[Obj]) -> list[Obj]:
    """The taxes of a line: automatic where the document says so, else by the rates named for it."""
    if document["automatic_tax"]["enabled"]:
        return [taxed(amount, *automatic_rate(account, customer), document["currency"])]
    return [taxed(amount, rate, "not_available", document["currency"]) for rate in rates]


def summed(entries: list[Obj]) -> list[Obj]:
    """Tax entries added up by rate, behaviour and reason."""
    groups: dict[tuple[str, str, str], Obj] = {}
    for entry in entries:
        place = (entry["tax_rate_details"]["tax_rate"], entry["tax_behavior"], entry["taxability_reason"])
        known = groups.get(place)
        if known is None:
            groups[place] = {**entry, "tax_rate_details": dict(entry["tax_rate_details"])}
        else:
            known["amount"] += entry["amount"]
            known["taxable_amount"] += entry["taxable_amount"]
    return list(groups.values())


def amounts(entries: list[Obj]) -> tuple[int, int]:
    """(exclusive, inclusive) tax."""
    exclusive = sum(e["amount"] for e in entries if e["tax_behavior"] == "exclusive")
    return exclusive, sum(e["amount"] for e in entries) - exclusive


def chosen_rates(
    account: Account, given: Obj, name: str = "tax_rates", where: str = "", own: list[Obj] | None = None
) -> list[Obj]:
    """The rates that a parameter names. One that is not active goes only where it stands already (`own`)."""
    found = []
    standing = {rate["id"] for rate in own or []}
    for identifier in given.get(name) or []:
        param = f"{where}[{name}]" if where else name
        rate = account.get("tax_rates", identifier, param)
        if not rate["active"] and identifier not in standing:
            raise invalid(f"The tax rate {identifier} is not active.", param)
        found.append(rate)
    return found


def not_beside_automatic(given: Obj) -> None:
    """Rates by hand and automatic tax exclude one another."""
    if given.get("default_tax_rates") and (given.get("automatic_tax") or {}).get("enabled"):
        raise invalid(
            "You may only specify one of these parameters: automatic_tax[enabled], default_tax_rates.",
            "default_tax_rates",
            "parameters_exclusive",
        )


# -- endpoints ----------------------------------------------------------------------------------------------------
def routes(desk: Desk) -> None:
    """Declare the endpoints of tax rates."""
    desk.v1("GET", "/v1/tax_rates", "tax_rates.list", _list)
    desk.v1("POST", "/v1/tax_rates", "tax_rates.create", _create)
    desk.v1("GET", "/v1/tax_rates/{tax_rate}", "tax_rates.retrieve", _retrieve)
    desk.v1("POST", "/v1/tax_rates/{tax_rate}", "tax_rates.update", _update)


def _list(call: Call) -> Obj:
    return page(
        chosen(call.account.all("tax_rates"), call.given, "active", "inclusive"),
        call.given,
        call.url,
        "tax_rates",
    )


def _create(call: Call) -> Obj:
    given = call.given
    percent = Decimal(given["percentage"])
    if not 0 <= percent <= 100:
        raise invalid("percentage must be between 0 and 100", "percentage")
    rate = new_rate(call.account, given["display_name"], given["percentage"], inclusive=given["inclusive"])
    for name in ("active", "country", "description", "jurisdiction", "state", "tax_type"):
        if name in given:
            rate[name] = given[name]
    rate["metadata"] = merged({}, given.get("metadata"))
    call.account.emit("tax_rate.created", rate)
    return rate


def _retrieve(call: Call) -> Obj:
    return call.account.get("tax_rates", call.path["tax_rate"], "tax_rate", status=404)


def _update(call: Call) -> Obj:
    rate = _retrieve(call)
    if call.given.get("display_name") == UNSET:
        raise empty("display_name")
    metadata = merged(rate["metadata"], call.given.get("metadata"))
    with call.account.changing(rate, "tax_rate.updated"):
        for name in ("active", "country", "description", "display_name", "jurisdiction", "state", "tax_type"):
            if name in call.given:
                rate[name] = call.given[name] if call.given[name] != "" else None
        rate["metadata"] = metadata
    return rate
