"""Subscriptions: made, changed, ended; and the first invoice, which is made with them."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.stripe import anchors, calendar, catalogue, discounts, invoices, periods, tax, trials
from tieout_lab.twins.stripe.accounts import Account, Obj, listed
from tieout_lab.twins.stripe.errors import Refusal, conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.payments import collect, method_of, pay_by_card

MAX_ITEMS = 20
MAX_SUBSCRIPTIONS = 500
LEFT_OUT = (
    "application_fee_percent", "billing_schedules", "billing_thresholds", "on_behalf_of",
    "pending_invoice_item_interval", "transfer_data",
)  # fmt: skip
OVER = ("canceled", "incomplete_expired")
INCOMPLETE_FOR = 23 * 3600
CONFIG_RANGES = {
    "day_of_month": (1, 31),
    "month": (1, 12),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
LIVE = ("active", "past_due", "trialing", "incomplete", "unpaid", "paused")


# -- items --------------------------------------------------------------------------------------------------------
def checked_items(account: Account, given: list[Obj], where: str = "items") -> list[tuple[Obj, Obj]]:
    """(price, parameters) of each item; refuses what does not fit together. Creates inline prices."""
    if len(given) > MAX_ITEMS:
        raise invalid(f"A subscription can have up to {MAX_ITEMS} items.", where)
    for place, item in enumerate(given):
        for name in ("billing_thresholds", "current_trial", "plan"):
            if name in item:
                raise left_out(name, f"{where}[{place}][{name}]")
        if item.get("quantity", 1) < 0:
            raise invalid(
                "Invalid non-negative integer", f"{where}[{place}][quantity]", "parameter_invalid_integer"
            )
    found = [
        (catalogue.price_for(account, item, f"{where}[{place}]", recurring=True), item)
        for place, item in enumerate(given)
    ]
    periods.same_currency([price for price, _ in found], where)
    for place, (price, item) in enumerate(found):
        check_extras_of_item(account, item, price["currency"], f"{where}[{place}]")
    return found


def check_extras_of_item(
    account: Account, item: Obj, currency: str, where: str, own: Obj | None = None
) -> None:
    """Refuse rates and discounts that an item cannot have; `own` is the item that there is already."""
    standing: Obj = own or {"tax_rates": [], "discounts": []}
    tax.chosen_rates(account, item, where=where, own=standing["tax_rates"])
    discounts.check(account, item.get("discounts"), currency, f"{where}[discounts]", standing["discounts"])


# -- making -------------------------------------------------------------------------------------------------------
def create(account: Account, given: Obj, *, schedule: str | None = None) -> Obj:
    """A subscription and its first invoice; one that a schedule starts has its first invoice as a draft."""
    for name in LEFT_OUT:
        if name in given:
            raise left_out(name, name)
    customer = _customer(account, given)
    method = given.get("collection_method", "charge_automatically")
    check_days(given.get("days_until_due"), method)
    if not given.get("items"):
        raise required("items")
    extras = given.get("add_invoice_items") or []
    if len(extras) > MAX_ITEMS:
        raise invalid(f"At most {MAX_ITEMS} add_invoice_items.", "add_invoice_items")
    metadata = merged({}, given.get("metadata"))
    rates = tax.chosen_rates(account, given, "default_tax_rates")
    tax.not_beside_automatic(given)
    automatic = (given.get("automatic_tax") or {}).get("enabled", False)
    if automatic:
        tax.require_place(customer)
    trial = trials.end_of(account, given)
    start, anchor = _start_and_anchor(account, given, trial)
    items = checked_items(account, given["items"])
    once = periods.checked_extras(account, extras, items)
    if trial is None:
        _anchor_in_reach(account, anchor, [price for price, _ in items], given)
    subscription = _new(account, customer, given, items[0][0]["currency"], start, anchor)
    subscription |= {
        "automatic_tax": _automatic(automatic),
        "collection_method": method,
        "default_tax_rates": rates,
        "metadata": metadata,
        "schedule": schedule,
        "trial_settings": trials.settings(given),
        "discounts": discounts.wanted(account, given.get("discounts"), subscription["currency"]),
    }
    if trial is not None:
        trials.begin(account, subscription, start, trial)
    at_once = given.get("payment_behavior") != "default_incomplete" and trial is None
    if method == "charge_automatically" and at_once:
        _needs_method(account, subscription, items)
    account.put("subscriptions", subscription)
    owner = subscription["customer"]
    discounts.belongs(account, subscription["discounts"], owner, subscription=subscription["id"])
    first_lines = periods.first_periods(account, subscription, items, start, anchor, given)
    _ends_with_period(account, subscription, given)
    periods.waiting_extras(account, subscription, once)
    _first_invoice(account, subscription, first_lines, given)
    account.emit("customer.subscription.created", subscription)
    watch(account, subscription)
    return subscription


def _ends_with_period(account: Account, subscription: Obj, given: Obj) -> None:
    """What the end of the first period decides, once there is one."""
    asked = given.get("cancel_at")
    if given.get("cancel_at_period_end"):
        asked = "max_period_end"
    if isinstance(asked, str):
        subscription["cancel_at"] = anchors.period_end(subscription, asked)
        subscription["canceled_at"] = account.now()


def _customer(account: Account, given: Obj) -> Obj:
    if "customer" not in given:
        raise required("customer")
    customer = account.get("customers", given["customer"], "customer")
    running = [
        s for s in account.all("subscriptions") if s["customer"] == customer["id"] and s["status"] in LIVE
    ]
    if len(running) >= MAX_SUBSCRIPTIONS:
        raise conflict(
            f"A customer can have up to {MAX_SUBSCRIPTIONS} subscriptions.", "customer_max_subscriptions"
        )
    return customer


def check_days(days: int | None, method: str) -> None:
    """days_until_due belongs to send_invoice, and to it alone."""
    if method == "send_invoice" and days is None:
        raise invalid(
            "If `collection_method` is `send_invoice`, you must pass `days_until_due`.", "days_until_due"
        )
    if method != "send_invoice" and days is not None:
        raise invalid("`days_until_due` needs `collection_method=send_invoice`.", "days_until_due")


def _start_and_anchor(account: Account, given: Obj, trial: int | None) -> tuple[int, int]:
    now = account.now()
    start = given.get("backdate_start_date", now)
    if trial is not None:
        for name in ("backdate_start_date", "billing_cycle_anchor", "billing_cycle_anchor_config"):
            if name in given:
                raise left_out(f"{name} beside a trial", name)
        given = {**given, "billing_cycle_anchor": trial}
    if start > now:
        raise invalid("`backdate_start_date` must be in the past.", "backdate_start_date")
    config = given.get("billing_cycle_anchor_config")
    if config and "billing_cycle_anchor" in given:
        param = "billing_cycle_anchor_config"
        raise invalid("Only one of billing_cycle_anchor and its config.", param, "parameters_exclusive")
    for name, (least, most) in CONFIG_RANGES.items():
        if not least <= (config or {}).get(name, least) <= most:
            raise invalid(f"{name}: between {least} and {most}", f"billing_cycle_anchor_config[{name}]")
    anchor: int = calendar.next_occurrence(now, config) if config else given.get("billing_cycle_anchor", now)
    if anchor < now:
        raise invalid("`billing_cycle_anchor` cannot be in the past.", "billing_cycle_anchor")
    cancel = given.get("cancel_at")
    if isinstance(cancel, int) and cancel <= now:
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    return start, anchor


def _anchor_in_reach(account: Account, anchor: int, prices: list[Obj], given: Obj) -> None:
    mode = (given.get("billing_mode") or {}).get("type", "flexible")
    intervals = {(p["recurring"]["interval"], p["recurring"]["interval_count"]) for p in prices}
    if mode == "classic" and len(intervals) > 1:
        raise invalid("Prices must have the same interval in classic billing mode.", "items")
    for price in prices:
        if anchor > calendar.boundary(account.now(), price["recurring"], 1):
            raise invalid(
                "`billing_cycle_anchor` cannot be later than the next natural billing date.",
                "billing_cycle_anchor",
            )


def _automatic(enabled: bool) -> Obj:
    return {"disabled_reason": None, "enabled": enabled, "liability": {"type": "self"} if enabled else None}


def _new(account: Account, customer: Obj, given: Obj, currency: str, start: int, anchor: int) -> Obj:
    identifier = account.new_id("sub")
    mode = given.get("billing_mode") or {"type": "flexible"}
    flexible = {"proration_discounts": (mode.get("flexible") or {}).get("proration_discounts", "included")}
    cancel = None if isinstance(given.get("cancel_at"), str) else given.get("cancel_at")
    now = account.now()
    return {
        "id": identifier,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": _automatic(False),
        "billing_cycle_anchor": anchor,
        "billing_cycle_anchor_config": _anchor_config(given.get("billing_cycle_anchor_config")),
        "billing_mode": {"type": mode["type"], "flexible": flexible if mode["type"] == "flexible" else None},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": cancel,
        "cancel_at_period_end": given.get("cancel_at_period_end", False),
        "canceled_at": now if cancel or given.get("cancel_at_period_end") else None,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": given.get("days_until_due"),
        "default_payment_method": given.get("default_payment_method"),
        "default_source": None,
        "default_tax_rates": [],
        "description": given.get("description"),
        "discounts": [],
        "ended_at": None,
        "invoice_settings": invoice_settings(given.get("invoice_settings") or {}),
        "items": listed([], f"/v1/subscription_items?subscription={identifier}"),
        "latest_invoice": None,
        "livemode": account.livemode,
        "managed_payments": {"enabled": False},
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": start,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
        "_ends_at": given.get("_ends_at"),
        "_on_day": given.get("_on_day")
        or (given.get("billing_cycle_anchor_config") or {}).get("day_of_month"),
    }


def invoice_settings(given: Obj) -> Obj:
    """What a subscription's invoices are to say."""
    return {
        "account_tax_ids": None,
        "custom_fields": given.get("custom_fields") or None,
        "description": given.get("description") or None,
        "footer": given.get("footer") or None,
        "issuer": {"type": "self"},
    }


def _anchor_config(given: Obj | None) -> Obj | None:
    if given is None:
        return None
    return {name: given.get(name) for name in ("day_of_month", "hour", "minute", "month", "second")}


def _needs_method(account: Account, subscription: Obj, items: list[tuple[Obj, Obj]]) -> None:
    metered = [price["recurring"]["usage_type"] == "metered" for price, _ in items]
    due = [catalogue.amount_at(price, item.get("quantity", 1)) for price, item in items]
    if not any(amount for amount, later in zip(due, metered, strict=True) if not later):
        return
    if (
        method_of(account, {"_subscription": None, "customer": subscription["customer"]}) is None
        and not subscription["default_payment_method"]
    ):
        raise conflict(
            "This customer has no attached payment source or default payment method.", "resource_missing"
        )


# -- its invoices ---------------------------------------------------------------------------------------------
def invoice_for(
    account: Account, subscription: Obj, reason: str, start: int, own: list[Obj], **more: Any
) -> Obj | None:
    """A draft of the subscription with the waiting items and `own` lines; None if there is nothing to bill."""
    customer = account.objects["customers"][subscription["customer"]]
    invoice = invoices.draft(
        account,
        customer,
        subscription["currency"],
        reason,
        subscription=subscription,
        start=start,
        method=subscription["collection_method"],
        days=subscription["days_until_due"],
        automatic_tax=subscription["automatic_tax"]["enabled"],
        custom_fields=subscription["invoice_settings"]["custom_fields"],
        description=subscription["invoice_settings"]["description"] or subscription["description"],
        footer=subscription["invoice_settings"]["footer"],
        rates=subscription["default_tax_rates"],
        discounts=discounts.running(account, subscription["discounts"]),
        **more,
    )
    waiting = invoices.take_items(account, invoice, subscription["id"])
    if not waiting and not own:
        del account.objects["invoices"][invoice["id"]]
        return None
    invoices.add_lines(account, invoice, [*waiting, *own])
    subscription["latest_invoice"] = invoice["id"]
    # What is for one invoice waits, on trial, for one that it takes something from.
    if subscription["status"] != "trialing" or invoice["total_discount_amounts"]:
        for holder in (subscription, *subscription["items"]["data"]):
            discounts.used_once(account, holder)
    account.emit("invoice.created", invoice)
    return invoice


def finalize_later(account: Account, invoice: Obj) -> None:
    """A draft is finalised about an hour of business time after it was made, or at once where so set."""
    if _held_back(account, invoice):
        return
    after = account.settings.finalize_after_seconds
    if after <= 0:
        invoices.finalize(account, invoice)
        collect(account, invoice)
        return
    invoice["automatically_finalizes_at"] = account.now() + after
    account.await_time(invoice["automatically_finalizes_at"], "finalize", invoice["id"])


def _first_invoice(account: Account, subscription: Obj, own: list[Obj], given: Obj) -> None:
    invoice = invoice_for(account, subscription, "subscription_create", account.now(), own)
    if invoice is None:
        return
    by_hand = subscription["collection_method"] == "send_invoice"
    late = subscription["schedule"] is not None or (by_hand and account.settings.first_invoice != "open")
    if late:
        finalize_later(account, invoice)
        return
    invoices.finalize(account, invoice)
    if by_hand or invoice["status"] == "paid":
        return
    if given.get("payment_behavior") == "default_incomplete":
        _incomplete(account, subscription)
        return
    try:
        pay_by_card(account, invoice, str(method_of(account, invoice)))
    except Refusal:
        _incomplete(account, subscription)
        if given.get("payment_behavior") == "error_if_incomplete":
            end(account, subscription, "payment_failed")
            raise


def _incomplete(account: Account, subscription: Obj) -> None:
    subscription["status"] = "incomplete"
    account.await_time(account.now() + INCOMPLETE_FOR, "incomplete", subscription["id"])


def expire(account: Account, identifier: str) -> None:
    """A step of the billing run: a first invoice that was not paid in time is void, and the subscription over."""
    subscription = account.find("subscriptions", identifier)
    if subscription is None or subscription["status"] != "incomplete":
        return
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["status"] = "incomplete_expired"
        subscription["ended_at"] = account.now()
    invoice = account.find("invoices", subscription["latest_invoice"] or "")
    if invoice is not None and invoice["status"] == "open" and not invoice["amount_paid"]:
        invoices.void(account, invoice)


# -- pausing collection ---------------------------------------------------------------------------------------------
def check_pause(account: Account, given: Obj | None) -> None:
    """A pause ends in the future, or is ended by somebody."""
    resumes = (given or {}).get("resumes_at")
    if resumes is not None and resumes <= account.now():
        raise invalid("`resumes_at` must be in the future.", "pause_collection[resumes_at]")


def pause(account: Account, subscription: Obj, given: Obj | None) -> None:
    """Say what becomes of the invoices that come; None ends it."""
    resumes = (given or {}).get("resumes_at")
    if resumes is not None:
        account.await_time(resumes, "resume", subscription["id"])
    subscription["pause_collection"] = given and {"behavior": given["behavior"], "resumes_at": resumes}


def resume(account: Account, identifier: str) -> None:
    """A step of the billing run: collection goes on."""
    subscription = account.find("subscriptions", identifier)
    paused = (subscription or {}).get("pause_collection") or {}
    if subscription is None or paused.get("resumes_at") is None or paused["resumes_at"] > account.now():
        return
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["pause_collection"] = None


def _held_back(account: Account, invoice: Obj) -> bool:
    """Whether the invoice is of a paused subscription; does with it what the pause says."""
    subscription = account.find("subscriptions", invoice["_subscription"] or "") or {}
    behavior = (subscription.get("pause_collection") or {}).get("behavior")
    if behavior is None:
        return False
    invoice["auto_advance"] = False
    if behavior != "keep_as_draft":
        invoices.finalize(account, invoice)
        if invoice["status"] == "open":
            (invoices.void if behavior == "void" else invoices.write_off)(account, invoice)
    return True


# -- ending, watching -----------------------------------------------------------------------------------------------
def end(account: Account, subscription: Obj, reason: str | None) -> None:
    """The subscription is over, now."""
    now = account.now()
    subscription["status"] = "canceled"
    subscription["ended_at"] = now
    subscription["canceled_at"] = subscription["canceled_at"] or now
    if subscription["cancellation_details"]["reason"] is None:
        subscription["cancellation_details"]["reason"] = reason
    account.emit("customer.subscription.deleted", subscription)


def watch(account: Account, subscription: Obj) -> None:
    """Have the billing run look when the next period of this subscription ends, or the subscription does."""
    moments = [item["current_period_end"] for item in subscription["items"]["data"]]
    moments += [when for when in (subscription["cancel_at"], subscription["_ends_at"]) if when is not None]
    account.await_time(min(moments), "subscription", subscription["id"])
