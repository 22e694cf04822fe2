"""The endpoints of subscriptions: reading, changing, cancelling."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tieout_lab.twins.stripe import (
    anchors,
    calendar,
    catalogue,
    discounts,
    invoices,
    lines,
    meters,
    periods,
    subscriptions,
    tax,
    trials,
)
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out
from tieout_lab.twins.stripe.form import merged, value_of
from tieout_lab.twins.stripe.pages import chosen, in_range, page
from tieout_lab.twins.stripe.payments import collect
from tieout_lab.twins.stripe.schedules import subscription_ended
from tieout_lab.twins.stripe.search import search

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

_WHEN_CANCELED = frozenset({"metadata", "cancellation_details", "expand"})


def _subscription(call: Call) -> Obj:
    return call.account.get("subscriptions", call.path["subscription_exposed_id"], status=404)


def _list(call: Call) -> Obj:
    given = call.given
    found = chosen(call.account.all("subscriptions"), given, "customer", "collection_method")
    status = given.get("status")
    if status is None:
        found = [s for s in found if s["status"] != "canceled"]
    elif status == "ended":
        found = [s for s in found if s["status"] in {"canceled", "incomplete_expired"}]
    elif status != "all":
        found = [s for s in found if s["status"] == status]
    if "price" in given:
        found = [s for s in found if any(i["price"]["id"] == given["price"] for i in s["items"]["data"])]
    if "automatic_tax" in given:
        found = [s for s in found if s["automatic_tax"]["enabled"] == given["automatic_tax"]["enabled"]]
    for name in ("current_period_start", "current_period_end"):
        if name in given:
            found = [s for s in found if any(in_range(i[name], given[name]) for i in s["items"]["data"])]
    return page(found, given, call.url, "subscriptions")


# -- changing -----------------------------------------------------------------------------------------------------
def _update(call: Call) -> Obj:
    return change(call.account, _subscription(call), call.given)


def change(account: Account, subscription: Obj, given: Obj) -> Obj:
    """What `POST /v1/subscriptions/{id}` does."""
    _may_change(subscription, given)
    method = str(given.get("collection_method", subscription["collection_method"]))
    days = given.get("days_until_due", subscription["days_until_due"] if method == "send_invoice" else None)
    subscriptions.check_days(days, method)
    cancel = _cancel_at(account, given, subscription)
    trial = anchors.trial_change(account, given, subscription)
    reduced = discounts.wanted(
        account, given.get("discounts"), subscription["currency"], own=subscription["discounts"]
    )
    tax.not_beside_automatic({"automatic_tax": subscription["automatic_tax"], **given})
    rates = tax.chosen_rates(account, given, "default_tax_rates", own=subscription["default_tax_rates"])
    trial_settings = trials.settings(given)
    subscriptions.check_pause(account, value_of(given, "pause_collection"))
    metadata = merged(subscription["metadata"], given.get("metadata"))
    extras = _checked_extras(account, subscription, given.get("add_invoice_items") or [])
    changes = _checked_changes(account, subscription, given.get("items") or [])
    behavior = given.get("proration_behavior", "create_prorations")
    moment = given.get("proration_date", account.now())
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["metadata"] = metadata
        subscription["collection_method"], subscription["days_until_due"] = method, days
        for name in ("description", "default_payment_method"):
            if name in given:
                subscription[name] = value_of(given, name)
        if "automatic_tax" in given:
            enabled = given["automatic_tax"]["enabled"]
            liability = {"type": "self"} if enabled else None
            subscription["automatic_tax"] = {
                "disabled_reason": None,
                "enabled": enabled,
                "liability": liability,
            }
        if "pause_collection" in given:
            subscriptions.pause(account, subscription, value_of(given, "pause_collection"))
        if "discounts" in given:
            subscription["discounts"] = reduced
        if "default_tax_rates" in given:
            subscription["default_tax_rates"] = rates
        if "invoice_settings" in given:
            subscription["invoice_settings"] |= {
                name: value
                for name, value in subscriptions.invoice_settings(given["invoice_settings"]).items()
                if name in given["invoice_settings"]
            }
        if "trial_settings" in given:
            subscription["trial_settings"] = trial_settings
        _set_end(account, subscription, given, cancel)
        anew = trial is None and anchors.restarts(given, changes)
        if anew and behavior != "none":
            for item in subscription["items"]["data"]:
                _prorate(account, subscription, item, moment, -1)
        _change_items(account, subscription, changes, "none" if anew else behavior, moment)
        periods.waiting_extras(account, subscription, extras)
        own = anchors.restart(account, subscription) if anew else []
        if trial is not None:
            own = anchors.move_trial(account, subscription, trial)
        if own or behavior == "always_invoice":
            bill_now(account, subscription, own)
    discounts.belongs(account, reduced, subscription["customer"], subscription=subscription["id"])
    subscriptions.watch(account, subscription)
    return subscription


def _may_change(subscription: Obj, given: Obj) -> None:
    for name in subscriptions.LEFT_OUT:
        if name in given:
            raise left_out(name, name)
    late = sorted(set(given) - _WHEN_CANCELED)
    if subscription["status"] in subscriptions.OVER and late:
        raise conflict(
            "A canceled subscription can only update its cancellation_details and metadata.",
            "invalid_canceled_subscription_fields",
            late[0],
        )
    if subscription["schedule"] and {"items", "cancel_at", "cancel_at_period_end"} & set(given):
        raise conflict(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`; change that."
        )


def _cancel_at(account: Account, given: Obj, subscription: Obj) -> int | None:
    cancel: int | str | None = given.get("cancel_at", subscription["cancel_at"])
    if cancel == "":
        return None
    if isinstance(cancel, str):
        return anchors.period_end(subscription, cancel)
    if "cancel_at" in given and cancel is not None and cancel <= account.now():
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    return cancel


def _set_end(account: Account, subscription: Obj, given: Obj, cancel: int | None) -> None:
    subscription["cancel_at"] = cancel
    if "cancel_at_period_end" in given:
        subscription["cancel_at_period_end"] = given["cancel_at_period_end"]
        ends = [item["current_period_end"] for item in subscription["items"]["data"]]
        subscription["cancel_at"] = max(ends) if given["cancel_at_period_end"] else None
    if {"cancel_at", "cancel_at_period_end"} & set(given):
        ending = subscription["cancel_at"] is not None
        subscription["canceled_at"] = account.now() if ending else None
        subscription["cancellation_details"]["reason"] = "cancellation_requested" if ending else None
    for name, value in (given.get("cancellation_details") or {}).items():
        subscription["cancellation_details"][name] = None if value == "" else value


def _checked_changes(
    account: Account, subscription: Obj, given: list[Obj]
) -> list[tuple[Obj | None, Obj | None, Obj]]:
    """(the item there is, its new price, the parameters) of each change; refuses what does not fit."""
    by_id = {item["id"]: item for item in subscription["items"]["data"]}
    found: list[tuple[Obj | None, Obj | None, Obj]] = []
    for place, change in enumerate(given):
        where = f"items[{place}]"
        item = None
        if "id" in change:
            item = by_id.get(change["id"])
            if item is None:
                raise invalid(
                    f"No such subscription item: '{change['id']}'", f"{where}[id]", "resource_missing"
                )
        if change.get("quantity", 1) < 0:
            raise invalid("Invalid non-negative integer", f"{where}[quantity]", "parameter_invalid_integer")
        if item is not None and meters.is_metered(item) and "quantity" in change:
            raise invalid("A metered price takes no quantity.", f"{where}[quantity]")
        price = None
        if item is None or "price" in change or "price_data" in change:
            price = catalogue.price_for(account, change, where, recurring=True)
            if price["currency"] != subscription["currency"]:
                raise invalid("Prices must have the same `currency` field.", where)
        subscriptions.check_extras_of_item(account, change, subscription["currency"], where, item)
        found.append((item, price, change))
    left = (
        len(by_id)
        + sum(1 for i, _, _ in found if i is None)
        - sum(1 for _, _, c in found if c.get("deleted"))
    )
    if found and left < 1:
        raise conflict("A subscription must have at least one active item.", param="items")
    if left > subscriptions.MAX_ITEMS:
        raise conflict(f"A subscription can have up to {subscriptions.MAX_ITEMS} items.", param="items")
    return found


def _change_items(
    account: Account,
    subscription: Obj,
    changes: list[tuple[Obj | None, Obj | None, Obj]],
    behavior: str,
    moment: int,
) -> None:
    items = subscription["items"]["data"]
    for item, price, change in changes:
        if item is None:
            assert price is not None  # noqa: S101  a new item always has one
            span = anchors.span_of_added(account, subscription, price)
            added = periods.new_item(account, subscription["id"], price, change, span)
            items.append(added)
            if behavior != "none":
                _prorate(account, subscription, added, moment, 1)
            continue
        metadata = merged(item["metadata"], change.get("metadata"))
        metered = meters.is_metered(item)
        quantity = change.get("quantity", 1 if price is not None else item.get("quantity"))
        moved = change.get("deleted") or price is not None or quantity != item.get("quantity")
        if moved and behavior != "none":
            _prorate(account, subscription, item, moment, -1)
        if change.get("deleted"):
            items.remove(item)
            del account.objects["subscription_items"][item["id"]]
            continue
        item["metadata"] = metadata
        if "tax_rates" in change:
            item["tax_rates"] = tax.chosen_rates(account, change, own=item["tax_rates"])
        if "discounts" in change:
            item["discounts"] = discounts.wanted(
                account, change["discounts"], subscription["currency"], own=item["discounts"]
            )
        if not metered:
            item["quantity"] = quantity
        if price is not None:
            item["price"] = {key: value for key, value in price.items() if key not in {"_since", "_before"}}
            item["plan"] = catalogue.plan_of(price)
        if moved and behavior != "none":
            _prorate(account, subscription, item, moment, 1)


def _prorate(account: Account, subscription: Obj, item: Obj, moment: int, sign: int) -> None:
    """A waiting invoice item for the rest of the current period: credit (-1) for what was, debit (1) for what is."""
    if meters.is_metered(item) or subscription["status"] == "trialing":
        return
    start, end = item["current_period_start"], item["current_period_end"]
    first = min(max(moment, start), end)
    anchor, on_day = subscription["billing_cycle_anchor"], subscription["_on_day"]
    # by the natural periods: a first or last one that is cut short costs its share of a whole one
    parts = calendar.natural_parts(anchor, item["price"]["recurring"], first, end, on_day)
    part = sum((share for _, _, share in parts), Decimal(0))
    reduced = [*item["discounts"], *subscription["discounts"]]
    left = discounts.part_left(account, reduced, item["price"]["product"])
    amount = sign * periods.share(item["price"], item["quantity"], part * left)
    if amount == 0:
        return
    name = account.objects["products"][item["price"]["product"]]["name"]
    prefix = "Unused time on" if sign < 0 else "Remaining time on"
    waiting = lines.new_item(
        account,
        subscription["customer"],
        amount=amount,
        currency=subscription["currency"],
        description=f"{prefix} {item['quantity']} × {name}",
        period=lines.period(first, end),
        quantity=item["quantity"],
        price=item["price"],
        proration=True,
        metadata=lines.line_metadata(account, subscription, item),
        tax_rates=item["tax_rates"] or subscription["default_tax_rates"],
        subscription=subscription["id"],
        subscription_item=item["id"],
    )
    waiting["_parent"] = {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": waiting["id"],
            "proration": True,
            "proration_details": {"credited_items": _credited(account, item, start) if sign < 0 else None},
            "subscription": subscription["id"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }


def _credited(account: Account, item: Obj, start: int) -> Obj | None:
    """The line that billed the period for which a credit is given."""
    for invoice in reversed(account.all("invoices")):
        for line in invoice["lines"]["data"]:
            if line["_item"] == item["id"] and line["period"]["start"] == start:
                return {"invoice": invoice["id"], "invoice_line_items": [line["id"]]}
    return None


def enter_phase(account: Account, subscription: Obj, phase: Obj, extras: list[Obj]) -> None:
    """A schedule's next phase: items of the same price stay, the others are exchanged, as the phase prorates."""
    standing = {item["price"]["id"]: item for item in subscription["items"]["data"]}
    wanted = {item["price"]: item for item in phase["items"]}
    # What comes takes its period from what is there, so that comes first and goes last.
    given: list[Obj] = [
        {"price": price, "quantity": one["quantity"], "metadata": dict(one["metadata"])}
        for price, one in wanted.items()
        if price not in standing
    ]
    given += [
        {"id": standing[price]["id"], "quantity": one["quantity"], "metadata": dict(one["metadata"])}
        for price, one in wanted.items()
        if price in standing
    ]
    given += [{"id": item["id"], "deleted": True} for price, item in standing.items() if price not in wanted]
    behavior = phase["proration_behavior"]
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["metadata"] |= phase["metadata"]
        changes = _checked_changes(account, subscription, given)
        _change_items(account, subscription, changes, behavior, account.now())
        wanted_extras = [
            {name: one[name] for name in ("price", "quantity", "metadata", "period")} for one in extras
        ]
        periods.waiting_extras(account, subscription, _checked_extras(account, subscription, wanted_extras))
        if behavior == "always_invoice":
            bill_now(account, subscription)
    subscriptions.watch(account, subscription)


def _checked_extras(account: Account, subscription: Obj, extras: list[Obj]) -> list[tuple[Obj, Obj]]:
    items: list[tuple[Obj, Obj]] = [(item["price"], {}) for item in subscription["items"]["data"]]
    return periods.checked_extras(account, extras, items)


def bill_now(account: Account, subscription: Obj, own: list[Obj] | None = None) -> Obj | None:
    """An invoice, at once, for what waits and for the lines `own`."""
    invoice = subscriptions.invoice_for(
        account, subscription, "subscription_update", account.now(), own or []
    )
    if invoice is not None:
        invoices.finalize(account, invoice)
        collect(account, invoice)
    return invoice


def _cancel(call: Call) -> Obj:
    return cancel(call.account, _subscription(call), call.given)


def cancel(account: Account, subscription: Obj, given: Obj) -> Obj:
    """What `DELETE /v1/subscriptions/{id}` does."""
    if subscription["status"] in subscriptions.OVER:
        raise conflict(f"No such subscription: '{subscription['id']}'", "resource_missing", "id")
    for name, value in (given.get("cancellation_details") or {}).items():
        subscription["cancellation_details"][name] = None if value == "" else value
    if given.get("prorate"):
        for item in subscription["items"]["data"]:
            _prorate(account, subscription, item, account.now(), -1)
    if given.get("invoice_now"):
        bill_now(account, subscription)
    subscriptions.end(account, subscription, "cancellation_requested")
    subscription_ended(account, subscription)
    return subscription


def routes(desk: Desk) -> None:
    """Declare the endpoints of subscriptions."""
    one = "/v1/subscriptions/{subscription_exposed_id}"
    desk.v1("GET", "/v1/subscriptions", "subscriptions.list", _list)
    desk.v1(
        "POST",
        "/v1/subscriptions",
        "subscriptions.create",
        lambda c: subscriptions.create(c.account, c.given),
    )
    desk.v1("GET", "/v1/subscriptions/search", "subscriptions.search", lambda c: search(c, "subscriptions"))
    desk.v1("GET", one, "subscriptions.retrieve", _subscription)
    desk.v1("POST", one, "subscriptions.update", _update)
    desk.v1("DELETE", one, "subscriptions.cancel", _cancel)
