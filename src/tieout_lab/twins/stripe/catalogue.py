"""Products and prices, and what a quantity at a price comes to."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import currencies
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import Refusal, invalid, left_out, required
from tieout_lab.twins.stripe.form import UNSET, empty, merged, value_of
from tieout_lab.twins.stripe.pages import chosen, page
from tieout_lab.twins.stripe.search import search
from tieout_lab.twins.stripe.tax import rounded

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

SECONDS = {"day": 86400, "week": 7 * 86400, "month": 31 * 86400, "year": 366 * 86400}
LONGEST = {"day": 1095, "week": 156, "month": 36, "year": 3}
MAX_AMOUNT = 999_999_999_999


# -- products -----------------------------------------------------------------------------------------------------
def new_product(account: Account, identifier: str | None, name: str) -> Obj:
    """A product; refuses an identifier that is taken."""
    if identifier and account.find("products", identifier):
        raise Refusal(
            400, f"Product already exists: {identifier}", code="resource_already_exists", param="id"
        )
    now = account.now()
    return account.put(
        "products",
        {
            "id": identifier or account.new_id("prod", 14),
            "object": "product",
            "active": True,
            "created": now,
            "default_price": None,
            "description": None,
            "images": [],
            "livemode": account.livemode,
            "marketing_features": [],
            "metadata": {},
            "name": name,
            "package_dimensions": None,
            "shippable": None,
            "statement_descriptor": None,
            "tax_code": None,
            "type": "service",
            "unit_label": None,
            "updated": now,
            "url": None,
        },
    )


def _dimensions(given: Obj) -> Obj | None:
    """The size of a package, in inches and ounces."""
    asked = value_of(given, "package_dimensions")
    return None if asked is None else {name: float(value) for name, value in asked.items()}


_PRODUCT_FIELDS = (
    "active", "description", "images", "marketing_features", "name", "shippable",
    "statement_descriptor", "tax_code", "unit_label", "url",
)  # fmt: skip


def _create_product(call: Call) -> Obj:
    metadata = merged({}, call.given.get("metadata"))
    product = new_product(call.account, call.given.get("id"), call.given["name"])
    for name in _PRODUCT_FIELDS:
        if name in call.given:
            product[name] = value_of(call.given, name)
    product["package_dimensions"] = _dimensions(call.given)
    product["type"] = call.given.get("type", "service")
    product["metadata"] = metadata
    call.account.emit("product.created", product)
    if "default_price_data" in call.given:
        given = {**call.given["default_price_data"], "product": product["id"]}
        for name in ("currency_options", "custom_unit_amount"):
            if name in given:
                raise left_out(name, f"default_price_data[{name}]")
        price = new_price(call.account, given, "default_price_data")
        price["active"] = True
        call.account.emit("price.created", price)
        product["default_price"] = price["id"]
    return product


def _update_product(call: Call) -> Obj:
    product = _product(call)
    if call.given.get("name") == UNSET:
        raise empty("name")
    if (price := value_of(call.given, "default_price")) is not None:
        call.account.get("prices", price, "default_price")
    metadata = merged(product["metadata"], call.given.get("metadata"))
    with call.account.changing(product, "product.updated"):
        for name in (*_PRODUCT_FIELDS, "default_price"):
            if name in call.given:
                unset: Any = [] if name in {"images", "marketing_features"} else None
                product[name] = unset if call.given[name] == "" else call.given[name]
        if "package_dimensions" in call.given:
            product["package_dimensions"] = _dimensions(call.given)
        product["metadata"] = metadata
        product["updated"] = call.account.now()
    return product


def _delete_product(call: Call) -> Obj:
    product = _product(call)
    if any(price["product"] == product["id"] for price in call.account.all("prices")):
        raise Refusal(400, "This product cannot be deleted because it has one or more user-created prices.")
    gone = {"id": product["id"], "object": "product", "deleted": True}
    call.account.emit("product.deleted", product)
    del call.account.objects["products"][product["id"]]
    return gone


def _list_products(call: Call) -> Obj:
    found = chosen(call.account.all("products"), call.given, "active", "shippable", "url", "type")
    if "ids" in call.given:
        found = [product for product in found if product["id"] in call.given["ids"]]
    return page(found, call.given, call.url, "products")


def _product(call: Call) -> Obj:
    return call.account.get("products", call.path["id"], status=404)


# -- prices -------------------------------------------------------------------------------------------------------
def new_price(account: Account, given: dict[str, Any], where: str = "") -> Obj:
    """A price from the parameters of `POST /v1/prices` or of an inline `price_data`."""
    prefix = (lambda name: f"{where}[{name}]") if where else (lambda name: name)
    product = account.get("products", given.get("product"), prefix("product"))
    unit, decimal = amount_given(given, prefix)
    recurring = given.get("recurring")
    if recurring is not None:
        recurring = _recurring(account, recurring, prefix("recurring"))
    return account.put(
        "prices",
        {
            "id": account.new_id("price"),
            "object": "price",
            "active": not where,
            "billing_scheme": given.get("billing_scheme", "per_unit"),
            "created": account.now(),
            "currency": currency(given["currency"], prefix("currency")),
            "custom_unit_amount": None,
            "livemode": account.livemode,
            "lookup_key": given.get("lookup_key"),
            "metadata": merged({}, given.get("metadata")),
            "nickname": given.get("nickname"),
            "product": product["id"],
            "recurring": recurring,
            "tax_behavior": given.get("tax_behavior", "unspecified"),
            "tiers_mode": given.get("tiers_mode"),
            "transform_quantity": given.get("transform_quantity"),
            "type": "recurring" if recurring else "one_time",
            "unit_amount": unit,
            "unit_amount_decimal": decimal,
            "_tiers": given.get("tiers"),
        },
    )


def currency(code: str, param: str = "currency") -> str:
    """A currency code in lower case."""
    if code.lower() not in currencies.SUPPORTED:
        known = ", ".join(currencies.SUPPORTED)
        raise invalid(f"Invalid currency: {code}. Stripe currently supports these currencies: {known}", param)
    return code.lower()


def amount_given(given: dict[str, Any], prefix: Any) -> tuple[int | None, str | None]:
    """unit_amount and unit_amount_decimal of the parameters: exactly one of them, unless there are tiers."""
    if given.get("billing_scheme") == "tiered":
        if not given.get("tiers") or not given.get("tiers_mode"):
            raise required(prefix("tiers"))
        return None, None
    if ("unit_amount" in given) == ("unit_amount_decimal" in given):
        if "unit_amount" in given:
            raise invalid(
                "Only one of unit_amount and unit_amount_decimal.",
                prefix("unit_amount"),
                "parameters_exclusive",
            )
        raise required(prefix("unit_amount"))
    if "unit_amount" in given:
        amount = int(given["unit_amount"])
        if abs(amount) > MAX_AMOUNT:
            raise invalid(f"unit_amount: at most {MAX_AMOUNT}", prefix("unit_amount"))
        return amount, str(amount)
    text = str(given["unit_amount_decimal"])
    try:
        exact = Decimal(text)
    except ArithmeticError as error:
        raise invalid(f"Invalid decimal: {text}", prefix("unit_amount_decimal")) from error
    if not exact.is_finite() or -int(exact.as_tuple().exponent) > 12:
        raise invalid("At most 12 decimal places.", prefix("unit_amount_decimal"))
    return (int(exact) if exact == exact.to_integral_value() else None), text


def _recurring(account: Account, given: dict[str, Any], param: str) -> Obj:
    count = given.get("interval_count", 1)
    if not 1 <= count <= LONGEST[given["interval"]]:
        raise invalid(
            f"interval_count: between 1 and {LONGEST[given['interval']]}", f"{param}[interval_count]"
        )
    metered = given.get("usage_type") == "metered"
    if metered != ("meter" in given):
        raise invalid("A metered price names its meter, and no other price does.", f"{param}[meter]")
    if metered:
        account.get("meters", given["meter"], f"{param}[meter]")
    return {
        "interval": given["interval"],
        "interval_count": count,
        "meter": given.get("meter"),
        "trial_period_days": given.get("trial_period_days"),
        "usage_type": given.get("usage_type", "licensed"),
    }


def price_for(account: Account, given: dict[str, Any], where: str, *, recurring: bool) -> Obj:
    """The price an item names or describes, of the kind that belongs there. Creates an inline one."""
    if ("price" in given) == ("price_data" in given):
        if "price" in given:
            raise invalid("Only one of price and price_data.", f"{where}[price]", "parameters_exclusive")
        raise required(f"{where}[price]")
    if "price_data" in given:
        inline = given["price_data"]
        if recurring and "recurring" not in inline:
            raise required(f"{where}[price_data][recurring]")
        price = new_price(account, inline, f"{where}[price_data]")
        account.emit("price.created", price)
        return price
    price = account.get("prices", given["price"], f"{where}[price]")
    kind = "recurring" if recurring else "one_time"
    if price["type"] != kind:
        raise invalid(
            f"The price specified is set to `type={price['type']}` but this field only accepts prices with "
            f"`type={kind}`.",
            f"{where}[price]",
        )
    if not price["active"] and not price.get("_inline_again"):
        raise invalid(f"The price specified is inactive: {price['id']}", f"{where}[price]")
    return price


def amount_at(price: Obj, quantity: int | None) -> Decimal:
    """What a quantity at a price comes to, in minor units, not rounded."""
    count = Decimal(1 if quantity is None else quantity)
    change = price.get("transform_quantity")
    if change:
        count = count / change["divide_by"]
        count = count.to_integral_value("ROUND_UP" if change["round"] == "up" else "ROUND_DOWN")
    if price["billing_scheme"] == "per_unit":
        return Decimal(price["unit_amount_decimal"]) * count
    return _tiered(price, count)


def _tiered(price: Obj, count: Decimal) -> Decimal:
    total, below = Decimal(0), Decimal(0)
    for tier in price["_tiers"] or []:
        top = None if tier["up_to"] == "inf" else Decimal(tier["up_to"])
        unit = Decimal(str(tier.get("unit_amount_decimal", tier.get("unit_amount", 0))))
        flat = Decimal(str(tier.get("flat_amount_decimal", tier.get("flat_amount", 0))))
        last = top is None or count <= top
        if price["tiers_mode"] == "volume":
            if last:
                return unit * count + flat
            continue
        inside = (count if top is None else min(count, top)) - below
        total += unit * inside + flat
        if last or top is None:
            return total
        below = top
    return total


def line_amount(price: Obj, quantity: int | None) -> int:
    """What a quantity at a price comes to, in whole minor units."""
    return rounded(amount_at(price, quantity), price["currency"])


def plan_of(price: Obj) -> Obj:
    """The older form of a recurring price, which subscription items still carry."""
    recurring = price["recurring"] or {"interval": "month", "interval_count": 1}
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": dict(price["metadata"]),
        "meter": recurring.get("meter"),
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring.get("usage_type", "licensed"),
    }


def _create_price(call: Call) -> Obj:
    given = dict(call.given)
    for name in ("currency_options", "custom_unit_amount"):
        if name in given:
            raise left_out(name, name)
    if "product_data" in given:
        inline = given.pop("product_data")
        product = new_product(call.account, inline.get("id"), inline["name"])
        product["metadata"] = merged({}, inline.get("metadata"))
        call.account.emit("product.created", product)
        given["product"] = product["id"]
    elif "product" not in given:
        raise required("product")
    _claim_lookup_key(call, given.get("lookup_key"))
    price = new_price(call.account, given)
    price["active"] = given.get("active", True)
    call.account.emit("price.created", price)
    return price


def _claim_lookup_key(call: Call, key: str | None, own: str | None = None) -> None:
    for other in call.account.all("prices"):
        if key and other["lookup_key"] == key and other["id"] != own:
            if not call.given.get("transfer_lookup_key"):
                raise Refusal(
                    400,
                    f"A price (`{other['id']}`) already uses that lookup key.",
                    code="resource_already_exists",
                    param="lookup_key",
                )
            with call.account.changing(other, "price.updated"):
                other["lookup_key"] = None


def _update_price(call: Call) -> Obj:
    price = _price(call)
    metadata = merged(price["metadata"], call.given.get("metadata"))
    _claim_lookup_key(call, call.given.get("lookup_key"), price["id"])
    with call.account.changing(price, "price.updated"):
        for name in ("active", "nickname", "lookup_key", "tax_behavior"):
            if name in call.given:
                price[name] = value_of(call.given, name)
        price["metadata"] = metadata
    return price


def _list_prices(call: Call) -> Obj:
    found = chosen(call.account.all("prices"), call.given, "active", "currency", "product", "type")
    if "lookup_keys" in call.given:
        found = [price for price in found if price["lookup_key"] in call.given["lookup_keys"]]
    return page(found, call.given, call.url, "prices")


def _price(call: Call) -> Obj:
    return call.account.get("prices", call.path["price"], "price", status=404)


def routes(desk: Desk) -> None:
    """Declare the endpoints of products and prices."""
    desk.v1("GET", "/v1/products", "products.list", _list_products)
    desk.v1("POST", "/v1/products", "products.create", _create_product)
    desk.v1("GET", "/v1/products/search", "products.search", lambda c: search(c, "products"))
    desk.v1("GET", "/v1/products/{id}", "products.retrieve", _product)
    desk.v1("POST", "/v1/products/{id}", "products.update", _update_product)
    desk.v1("DELETE", "/v1/products/{id}", "products.delete", _delete_product)
    desk.v1("GET", "/v1/prices", "prices.list", _list_prices)
    desk.v1("POST", "/v1/prices", "prices.create", _create_price)
    desk.v1("GET", "/v1/prices/search", "prices.search", lambda c: search(c, "prices"))
    desk.v1("GET", "/v1/prices/{price}", "prices.retrieve", _price)
    desk.v1("POST", "/v1/prices/{price}", "prices.update", _update_price)
