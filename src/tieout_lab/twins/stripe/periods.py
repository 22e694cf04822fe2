"""What a subscription's time costs: its items, their periods, and the lines of past, present and partial ones."""

from __future__ import annotations

from decimal import Decimal

from tieout_lab.twins.stripe import calendar, catalogue, discounts, lines, meters, tax, trials
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import invalid
from tieout_lab.twins.stripe.form import merged


def same_currency(prices: list[Obj], where: str) -> None:
    """All prices of one subscription share a currency."""
    if len({price["currency"] for price in prices}) > 1:
        raise invalid("Prices must have the same `currency` field.", where)


def new_item(account: Account, subscription: str, price: Obj, given: Obj, span: tuple[int, int]) -> Obj:
    """A subscription item with its current period."""
    rates = tax.chosen_rates(account, given)
    return account.put(
        "subscription_items",
        {
            "id": account.new_id("si", 14),
            "object": "subscription_item",
            "billed_until": span[1],
            "billing_thresholds": None,
            "created": account.now(),
            "current_period_end": span[1],
            "current_period_start": span[0],
            "discounts": discounts.wanted(account, given.get("discounts"), price["currency"]),
            "metadata": merged({}, given.get("metadata")),
            "plan": catalogue.plan_of(price),
            "price": {key: value for key, value in price.items() if key not in {"_since", "_before"}},
            **_quantity(price, given),
            "subscription": subscription,
            "tax_rates": rates,
        },
    )


def _quantity(price: Obj, given: Obj) -> Obj:
    """A metered item has none: it is told by its usage."""
    if price["recurring"]["usage_type"] == "metered":
        if "quantity" in given:
            raise invalid("A metered price takes no quantity.", "items[quantity]")
        return {}
    return {"quantity": given.get("quantity", 1)}


def end_of(subscription: Obj, natural: int) -> int:
    """Where a period really ends: at its natural end, or before, where the subscription does."""
    ends: list[int] = [
        when for when in (subscription["cancel_at"], subscription["_ends_at"]) if when is not None
    ]
    return min((natural, *ends))


def share(price: Obj, quantity: int | None, part: Decimal) -> int:
    """The price of a part of a period, in whole minor units."""
    return tax.rounded(catalogue.amount_at(price, quantity) * part, price["currency"])


def first_periods(
    account: Account, subscription: Obj, items: list[tuple[Obj, Obj]], start: int, anchor: int, given: Obj
) -> list[Obj]:
    """Adds the items with their first periods; answers the lines of the time from `start` on."""
    now = account.now()
    charged = given.get("proration_behavior", "create_prorations") != "none"
    found: list[Obj] = []
    for price, wanted in items:
        recurring = price["recurring"]
        own: list[Obj] = []
        if subscription["trial_end"] is not None:
            span = (start, end_of(subscription, anchor))
            item = new_item(account, subscription["id"], price, wanted, span)
            subscription["items"]["data"].append(item)
            found = [trials.free_line(account, subscription, item, *span), *found]
            continue
        if anchor > now:
            span = (start, end_of(subscription, anchor))
            spans = [span] if charged else []
        else:
            span = (
                now,
                end_of(subscription, calendar.boundary(anchor, recurring, 1, subscription["_on_day"])),
            )
            spans = [(start, now)] if charged and start < now else []
        item = new_item(account, subscription["id"], price, wanted, span)
        subscription["items"]["data"].append(item)
        for first, last in spans:
            own += past_lines(account, subscription, item, first, last, anchor)
        if anchor <= now:
            own += past_lines(account, subscription, item, *span, anchor)
        found = own + found  # newest item first
    return found


def past_lines(
    account: Account, subscription: Obj, item: Obj, start: int, end: int, anchor: int
) -> list[Obj]:
    """The lines of [start, end): one for each natural period, or in classic mode a single prorated one."""
    if meters.is_metered(item):
        return []
    price, quantity = item["price"], item["quantity"]
    recurring, on_day = price["recurring"], subscription["_on_day"]
    flexible = subscription["billing_mode"]["type"] == "flexible"
    if flexible or (start, end) == calendar.period_of(anchor, recurring, start, on_day):
        parts = calendar.natural_parts(anchor, recurring, start, end, on_day)
    else:
        parts = [(start, end, calendar.periods_in(start, end, recurring))]
    return [
        lines.of_subscription_item(
            account,
            subscription,
            item,
            amount=share(price, quantity, part),
            start=first,
            end=last,
            proration=part != 1,
        )
        for first, last, part in parts
    ]


def checked_extras(
    account: Account, extras: list[Obj], items: list[tuple[Obj, Obj]]
) -> list[tuple[Obj, Obj]]:
    """(price, parameters) of each one-time line; refuses what does not fit. Creates inline prices."""
    found = []
    for place, extra in enumerate(extras):
        found.append(
            (catalogue.price_for(account, extra, f"add_invoice_items[{place}]", recurring=False), extra)
        )
    same_currency([price for price, _ in [*items, *found]], "add_invoice_items")
    for place, (price, extra) in enumerate(found):
        where = f"add_invoice_items[{place}]"
        tax.chosen_rates(account, extra, where=where)
        discounts.check(account, extra.get("discounts"), price["currency"], f"{where}[discounts]")
    return found


def waiting_extras(account: Account, subscription: Obj, extras: list[tuple[Obj, Obj]]) -> None:
    """One-time lines become invoice items, whose period defaults to that of the items."""
    spans = [(i["current_period_start"], i["current_period_end"]) for i in subscription["items"]["data"]]
    for price, extra in extras:
        asked = extra.get("period") or {}
        first = _moment(asked.get("start"), max(start for start, _ in spans), account.now())
        last = _moment(asked.get("end"), min(end for _, end in spans), account.now())
        quantity = extra.get("quantity", 1)
        taken = discounts.wanted(
            account, extra.get("discounts"), price["currency"], "add_invoice_items[discounts]"
        )
        lines.new_item(
            account,
            subscription["customer"],
            amount=catalogue.line_amount(price, quantity),
            currency=price["currency"],
            description=account.objects["products"][price["product"]]["name"],
            period=lines.period(first, max(first, last)),
            quantity=quantity,
            price=price,
            metadata=merged({}, extra.get("metadata")),
            tax_rates=tax.chosen_rates(account, extra),
            subscription=subscription["id"],
            discounts=taken,
        )


def _moment(asked: Obj | None, otherwise: int, now: int) -> int:
    if asked and asked["type"] == "timestamp":
        return int(asked["timestamp"])
    return now if asked and asked["type"] == "now" else otherwise
