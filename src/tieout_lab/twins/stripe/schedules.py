"""Subscription schedules: phases that start, now or on a future day, a subscription, and change it on theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import calendar, subscriptions
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged, value_of
from tieout_lab.twins.stripe.pages import chosen, in_range, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

MAX_PHASES = 10
_LEFT_OUT_PHASE = (
    "application_fee_percent", "billing_thresholds", "discounts", "iterations", "on_behalf_of", "transfer_data",
    "trial", "trial_end",
)  # fmt: skip


def _create(call: Call) -> Obj:
    account, given = call.account, call.given
    if "from_subscription" in given:
        from tieout_lab.twins.stripe.rephasing import from_subscription

        return from_subscription(account, given, merged({}, given.get("metadata")))
    if "customer" not in given:
        raise required("customer")
    customer = account.get("customers", given["customer"], "customer")
    phases = given.get("phases") or []
    if not phases:
        raise required("phases")
    if len(phases) > MAX_PHASES:
        raise invalid(
            f"A subscription schedule can have up to {MAX_PHASES} current and future phases.", "phases"
        )
    now, metadata = account.now(), merged({}, given.get("metadata"))
    start = now if given.get("start_date", "now") == "now" else given["start_date"]
    if given.get("end_behavior", "release") not in {"release", "cancel"}:
        raise left_out("end_behavior none and renew", "end_behavior")
    made, here = [], start
    for place, phase in enumerate(phases):
        made.append(checked_phase(account, phase, place, here, given.get("default_settings") or {}))
        here = made[-1]["end_date"]
    schedule = new(account, customer, given, metadata)
    schedule["default_settings"] |= {"collection_method": made[0]["collection_method"]}
    schedule["phases"] = made
    schedule |= {"_start": start, "_end": here, "_given": phases}
    account.put("subscription_schedules", schedule)
    account.emit("subscription_schedule.created", schedule)
    if start <= now:
        _begin(account, schedule)
    else:
        account.await_time(start, "schedule", schedule["id"])
    return schedule


def checked_phase(account: Account, given: Obj, place: int, start: int, defaults: Obj) -> Obj:
    """A phase that begins where the one before ends; refuses what does not fit. Creates inline prices."""
    for name in _LEFT_OUT_PHASE:
        if name in given:
            raise left_out(name, f"phases[{place}][{name}]")
    if place and given.get("billing_cycle_anchor") == "phase_start":
        raise left_out("resetting the anchor at a later phase", f"phases[{place}][billing_cycle_anchor]")
    method = given.get("collection_method") or defaults.get("collection_method") or "charge_automatically"
    days = (given.get("invoice_settings") or defaults.get("invoice_settings") or {}).get("days_until_due")
    subscriptions.check_days(days, method)
    items = subscriptions.checked_items(account, given["items"], f"phases[{place}][items]")
    extras = [
        (_one_time(account, extra, place), extra)
        for place, extra in enumerate(given.get("add_invoice_items") or [])
    ]
    return phase_of(given, start, _end_date(given, start, items, place), items, extras, method, days)


def _one_time(account: Account, extra: Obj, place: int) -> Obj:
    from tieout_lab.twins.stripe.catalogue import price_for

    return price_for(account, extra, f"phases[0][add_invoice_items][{place}]", recurring=False)


def _end_date(phase: Obj, start: int, items: list[tuple[Obj, Obj]], place: int) -> int:
    if ("end_date" in phase) and ("duration" in phase):
        raise invalid(
            "Only one of end_date and duration.", f"phases[{place}][end_date]", "parameters_exclusive"
        )
    if "end_date" in phase:
        if phase["end_date"] <= start:
            raise invalid("The phase must end after it starts.", f"phases[{place}][end_date]")
        return int(phase["end_date"])
    duration = phase.get("duration") or {}
    recurring = {
        "interval": duration.get("interval") or items[0][0]["recurring"]["interval"],
        "interval_count": duration.get("interval_count")
        or (1 if duration else items[0][0]["recurring"]["interval_count"]),
    }
    return calendar.boundary(start, recurring, 1)


def new(account: Account, customer: Obj, given: Obj, metadata: Obj) -> Obj:
    """A schedule without phases, not yet kept."""
    mode = given.get("billing_mode") or {"type": "flexible"}
    flexible = {"proration_discounts": "included"} if mode["type"] == "flexible" else None
    defaults = given.get("default_settings") or {}
    settings = defaults.get("invoice_settings") or {}
    return {
        "id": account.new_id("sub_sched"),
        "object": "subscription_schedule",
        "application": None,
        "billing_mode": {"type": mode["type"], "flexible": flexible},
        "canceled_at": None,
        "completed_at": None,
        "created": account.now(),
        "current_phase": None,
        "customer": customer["id"],
        "customer_account": None,
        "default_settings": {
            "application_fee_percent": None,
            "automatic_tax": _automatic(defaults.get("automatic_tax")) or _automatic({"enabled": False}),
            "billing_cycle_anchor": defaults.get("billing_cycle_anchor", "automatic"),
            "billing_thresholds": None,
            "collection_method": "charge_automatically",
            "default_payment_method": defaults.get("default_payment_method"),
            "description": defaults.get("description"),
            "invoice_settings": _invoice_settings(settings),
            "on_behalf_of": None,
            "transfer_data": None,
        },
        "end_behavior": given.get("end_behavior", "release"),
        "livemode": account.livemode,
        "metadata": metadata,
        "pause_schedules": [],
        "phases": [],
        "released_at": None,
        "released_subscription": None,
        "status": "not_started",
        "subscription": None,
        "test_clock": None,
    }


def _automatic(given: Obj | None) -> Obj | None:
    if given is None:
        return None
    enabled = given.get("enabled", False)
    return {"disabled_reason": None, "enabled": enabled, "liability": {"type": "self"} if enabled else None}


def _invoice_settings(given: Obj) -> Obj:
    return {
        "account_tax_ids": None,
        "custom_fields": given.get("custom_fields") or None,
        "days_until_due": given.get("days_until_due"),
        "description": given.get("description") or None,
        "footer": given.get("footer") or None,
        "issuer": {"type": "self"},
    }


def phase_of(
    given: Obj,
    start: int,
    finish: int,
    items: list[tuple[Obj, Obj]],
    extras: list[tuple[Obj, Obj]],
    method: str,
    days: int | None,
) -> Obj:
    """A phase as it is shown, from (price, parameters) of its items and one-time lines."""
    settings = given.get("invoice_settings")
    return {
        "add_invoice_items": [
            {
                "discountable": True,
                "discounts": [],
                "metadata": merged({}, extra.get("metadata")),
                "period": extra.get("period")
                or {"end": {"type": "min_item_period_end"}, "start": {"type": "max_item_period_start"}},
                "price": price["id"],
                "quantity": extra.get("quantity", 1),
                "tax_rates": [],
            }
            for price, extra in extras
        ],
        "application_fee_percent": None,
        "automatic_tax": _automatic(given.get("automatic_tax")),
        "billing_cycle_anchor": given.get("billing_cycle_anchor"),
        "billing_thresholds": None,
        "collection_method": method,
        "currency": items[0][0]["currency"],
        "default_payment_method": given.get("default_payment_method"),
        "default_tax_rates": [],
        "description": value_of(given, "description"),
        "discounts": [],
        "end_date": finish,
        "invoice_settings": _invoice_settings(settings or {"days_until_due": days}),
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": merged({}, item.get("metadata")),
                "plan": price["id"],
                "price": price["id"],
                "quantity": item.get("quantity", 1),
                "tax_rates": [],
            }
            for price, item in items
        ],
        "metadata": merged({}, given.get("metadata")),
        "on_behalf_of": None,
        "proration_behavior": given.get("proration_behavior", "create_prorations"),
        "start_date": start,
        "transfer_data": None,
        "trial": None,
        "trial_end": None,
    }


# -- its life -----------------------------------------------------------------------------------------------------
def due(account: Account, identifier: str) -> None:
    """A step of the billing run: start, or come to the end of, a schedule."""
    schedule = account.find("subscription_schedules", identifier)
    if schedule is None:
        return
    if schedule["status"] == "not_started" and account.now() < schedule["_start"]:
        return  # it was put off
    if schedule["status"] == "not_started":
        _begin(account, schedule)
    elif schedule["status"] == "active" and account.now() < schedule["_end"]:
        enter(account, schedule)
    elif schedule["status"] == "active" and account.now() >= schedule["_end"]:
        with account.changing(schedule, "subscription_schedule.completed"):
            schedule["status"] = "completed"
            schedule["completed_at"] = account.now()
            schedule["current_phase"] = None
            schedule["released_subscription"] = schedule["subscription"]
            schedule["subscription"] = None
        subscription = account.objects["subscriptions"][str(schedule["released_subscription"])]
        with account.changing(subscription, "customer.subscription.updated"):
            subscription["schedule"] = None


def usable_again(account: Account, phases: list[Obj]) -> None:
    """A phase may name the inline prices of its schedule, which nothing else may."""
    for phase in phases:
        for item in [*phase["items"], *phase["add_invoice_items"]]:
            account.objects["prices"][item["price"]]["_inline_again"] = True


def _begin(account: Account, schedule: Obj) -> None:
    phase, given = schedule["phases"][0], schedule["_given"][0]
    usable_again(account, schedule["phases"])
    wanted: dict[str, Any] = {
        "customer": schedule["customer"],
        "items": [
            {"price": i["price"], "quantity": i["quantity"], "metadata": dict(i["metadata"])}
            for i in phase["items"]
        ],
        "add_invoice_items": [
            {
                "price": i["price"],
                "quantity": i["quantity"],
                "metadata": dict(i["metadata"]),
                "period": _period(i["period"], phase),
            }
            for i in phase["add_invoice_items"]
        ],
        "collection_method": phase["collection_method"],
        "metadata": dict(phase["metadata"]),
        "automatic_tax": given.get("automatic_tax")
        or {"enabled": schedule["default_settings"]["automatic_tax"]["enabled"]},
        "billing_mode": {"type": schedule["billing_mode"]["type"]},
        "description": phase["description"] or schedule["default_settings"]["description"],
        "default_payment_method": phase["default_payment_method"],
        "proration_behavior": phase["proration_behavior"],
        "invoice_settings": given.get("invoice_settings") or {},
    }
    days = phase["invoice_settings"]["days_until_due"]
    if days is not None:
        wanted["days_until_due"] = days
    if schedule["_start"] < account.now():
        wanted["backdate_start_date"] = schedule["_start"]
        by_phase = phase["billing_cycle_anchor"] or schedule["default_settings"]["billing_cycle_anchor"]
        if by_phase == "phase_start":
            recurring = account.objects["prices"][phase["items"][0]["price"]]["recurring"]
            _, coming = calendar.period_of(schedule["_start"], recurring, account.now())
            wanted["billing_cycle_anchor"] = coming
            wanted["_on_day"] = calendar.day_of(schedule["_start"])
    if schedule["end_behavior"] == "cancel":
        wanted["_ends_at"] = schedule["_end"]
    if len(schedule["phases"]) > 1:
        # Before the subscription's own next period, which the next phase is to price.
        account.await_time(phase["end_date"], "schedule", schedule["id"])
    # The first invoice of a schedule always begins as a draft.
    subscription = subscriptions.create(account, wanted, schedule=schedule["id"])
    with account.changing(schedule, "subscription_schedule.updated"):
        schedule["status"] = "active"
        schedule["subscription"] = subscription["id"]
        schedule["current_phase"] = {"start_date": schedule["_start"], "end_date": phase["end_date"]}
    if len(schedule["phases"]) == 1:
        account.await_time(schedule["_end"], "schedule", schedule["id"])
    elif phase["end_date"] <= account.now():
        due(account, schedule["id"])


def enter(account: Account, schedule: Obj, *, again: bool = False) -> None:
    """The phase of this moment begins: its items take the place of the last one's, prorated as it says.

    `again`: it has begun before and was only changed, so that its one-time lines are billed already."""
    from tieout_lab.twins.stripe.subscription_desk import enter_phase

    phase = next(one for one in schedule["phases"] if account.now() < one["end_date"])
    if (schedule["current_phase"] or {}).get("start_date") == phase["start_date"]:
        return
    account.await_time(phase["end_date"], "schedule", schedule["id"])
    subscription = account.objects["subscriptions"][schedule["subscription"]]
    with account.changing(schedule, "subscription_schedule.updated"):
        schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    extras = [{**one, "period": _period(one["period"], phase)} for one in phase["add_invoice_items"]]
    enter_phase(account, subscription, phase, [] if again else extras)


def _period(asked: Obj, phase: Obj) -> Obj:
    sides = {}
    for side, moment in (("start", phase["start_date"]), ("end", phase["end_date"])):
        given = asked[side]
        sides[side] = (
            {"type": "timestamp", "timestamp": moment} if given["type"].startswith("phase_") else given
        )
    return sides


def subscription_ended(account: Account, subscription: Obj) -> None:
    """The subscription of a schedule is over, and so is the schedule."""
    schedule = account.find("subscription_schedules", subscription["schedule"] or "")
    if schedule is None or schedule["status"] != "active":
        return
    at_end = account.now() >= schedule["_end"]
    with account.changing(schedule, f"subscription_schedule.{'completed' if at_end else 'canceled'}"):
        schedule["status"] = "completed" if at_end else "canceled"
        schedule["completed_at" if at_end else "canceled_at"] = account.now()
        schedule["current_phase"] = None


def _schedule(call: Call) -> Obj:
    return call.account.get("subscription_schedules", call.path["schedule"], "schedule", status=404)


def _running(call: Call, *, doing: str) -> Obj:
    schedule = _schedule(call)
    if schedule["status"] not in {"not_started", "active"}:
        raise conflict(
            f"You cannot {doing} a subscription schedule that is currently in `{schedule['status']}` status."
        )
    return schedule


def _update(call: Call) -> Obj:
    schedule = _running(call, doing="update")
    from tieout_lab.twins.stripe.rephasing import rephase

    for name in set(call.given) - {"metadata", "end_behavior", "expand", "phases", "proration_behavior"}:
        raise left_out(f"changing {name} of a schedule", name)
    if call.given.get("end_behavior", "release") not in {"release", "cancel"}:
        raise left_out("end_behavior none and renew", "end_behavior")
    metadata = merged(schedule["metadata"], call.given.get("metadata"))
    with call.account.changing(schedule, "subscription_schedule.updated"):
        schedule["metadata"] = metadata
        if "end_behavior" in call.given:
            schedule["end_behavior"] = call.given["end_behavior"]
            subscription = call.account.find("subscriptions", schedule["subscription"] or "")
            if subscription is not None:
                subscription["_ends_at"] = (
                    schedule["_end"] if call.given["end_behavior"] == "cancel" else None
                )
                subscriptions.watch(call.account, subscription)
    if "phases" in call.given:
        rephase(call.account, schedule, call.given["phases"])
    return schedule


def _cancel(call: Call) -> Obj:
    schedule = _running(call, doing="cancel")
    subscription = call.account.find("subscriptions", schedule["subscription"] or "")
    with call.account.changing(schedule, "subscription_schedule.canceled"):
        schedule["status"] = "canceled"
        schedule["canceled_at"] = call.account.now()
        schedule["current_phase"] = None
    if subscription is not None and subscription["status"] != "canceled":
        subscriptions.end(call.account, subscription, "cancellation_requested")
    return schedule


def _release(call: Call) -> Obj:
    schedule = _running(call, doing="release")
    subscription = call.account.find("subscriptions", schedule["subscription"] or "")
    with call.account.changing(schedule, "subscription_schedule.released"):
        schedule["status"] = "released"
        schedule["released_at"] = call.account.now()
        schedule["released_subscription"] = schedule["subscription"]
        schedule["subscription"] = None
        schedule["current_phase"] = None
    if subscription is not None:
        with call.account.changing(subscription, "customer.subscription.updated"):
            subscription["schedule"] = None
            subscription["_ends_at"] = None
    return schedule


def _list(call: Call) -> Obj:
    times = ("created", "canceled_at", "completed_at", "released_at")
    found = chosen(call.account.all("subscription_schedules"), call.given, "customer", times=times)
    if call.given.get("scheduled"):
        found = [
            s
            for s in found
            if s["status"] == "not_started" and in_range(s["_start"], {"gt": call.account.now()})
        ]
    return page(found, call.given, call.url, "subscription_schedules")


def routes(desk: Desk) -> None:
    """Declare the endpoints of subscription schedules."""
    one = "/v1/subscription_schedules/{schedule}"
    desk.v1("GET", "/v1/subscription_schedules", "subscription_schedules.list", _list)
    desk.v1("POST", "/v1/subscription_schedules", "subscription_schedules.create", _create)
    desk.v1("GET", one, "subscription_schedules.retrieve", _schedule)
    desk.v1("POST", one, "subscription_schedules.update", _update)
    desk.v1("POST", one + "/cancel", "subscription_schedules.cancel", _cancel)
    desk.v1("POST", one + "/release", "subscription_schedules.release", _release)
