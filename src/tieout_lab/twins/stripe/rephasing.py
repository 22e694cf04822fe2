"""Schedules that begin with a subscription that is there already, and phases that are given anew."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.stripe import schedules, subscriptions
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, required

_ALONE = frozenset({"from_subscription", "expand", "metadata", "billing_mode"})


def from_subscription(account: Account, given: Obj, metadata: Obj) -> Obj:
    """A schedule of one phase, which is the subscription's present period as it stands."""
    subscription = account.get("subscriptions", given["from_subscription"], "from_subscription")
    beside = sorted(set(given) - _ALONE)
    if beside:
        raise invalid(
            f"You cannot set `{beside[0]}` if `from_subscription` is set: update the schedule afterwards.",
            beside[0],
        )
    if subscription["status"] == "canceled":
        raise conflict("You cannot schedule a canceled subscription.", param="from_subscription")
    if subscription["schedule"]:
        raise conflict(
            f"You cannot migrate a subscription that is already attached to a schedule: {subscription['schedule']}.",
            param="from_subscription",
        )
    customer = account.objects["customers"][subscription["customer"]]
    mode = {"type": subscription["billing_mode"]["type"]}
    schedule = schedules.new(account, customer, {"billing_mode": mode}, metadata)
    phase = _present_phase(subscription)
    schedule["default_settings"] |= {
        "automatic_tax": dict(subscription["automatic_tax"]),
        "collection_method": subscription["collection_method"],
        "default_payment_method": subscription["default_payment_method"],
        "description": subscription["description"],
        "invoice_settings": phase["invoice_settings"],
    }
    schedule |= {
        "phases": [phase],
        "status": "active",
        "subscription": subscription["id"],
        "current_phase": {"start_date": phase["start_date"], "end_date": phase["end_date"]},
        "_start": phase["start_date"],
        "_end": phase["end_date"],
        "_given": [{}],
    }
    schedules.usable_again(account, schedule["phases"])
    account.put("subscription_schedules", schedule)
    account.emit("subscription_schedule.created", schedule)
    with account.changing(subscription, "customer.subscription.updated"):
        subscription["schedule"] = schedule["id"]
    account.await_time(phase["end_date"], "schedule", schedule["id"])
    return schedule


def _present_phase(subscription: Obj) -> Obj:
    items = subscription["items"]["data"]
    pairs: list[tuple[Obj, Obj]] = [
        (item["price"], {"quantity": item.get("quantity", 1), "metadata": dict(item["metadata"])})
        for item in items
    ]
    phase = schedules.phase_of(
        {"automatic_tax": {"enabled": subscription["automatic_tax"]["enabled"]}},
        min(item["current_period_start"] for item in items),
        max(item["current_period_end"] for item in items),
        pairs,
        [],
        subscription["collection_method"],
        subscription["days_until_due"],
    )
    for shown, item in zip(phase["items"], items, strict=True):
        if "quantity" not in item:
            shown.pop("quantity")
    return phase


def rephase(account: Account, schedule: Obj, given: list[Obj]) -> None:
    """The present and coming phases anew; what is past stays. The present one is entered if it has changed."""
    if not given:
        raise required("phases")
    if len(given) > schedules.MAX_PHASES:
        raise invalid(
            f"A subscription schedule can have up to {schedules.MAX_PHASES} current and future phases.",
            "phases",
        )
    now, active = account.now(), schedule["status"] == "active"
    start = _start(account, schedule, given[0])
    made, here = [], start
    for place, phase in enumerate(given):
        if place and phase.get("start_date", here) != here:
            raise invalid("A phase must begin where the one before it ends.", f"phases[{place}][start_date]")
        made.append(schedules.checked_phase(account, phase, place, here, schedule["default_settings"]))
        here = made[-1]["end_date"]
    if active and not start <= now < here:
        raise invalid("The current phase must be included.", "phases")
    schedules.usable_again(account, made)
    begun = (schedule["current_phase"] or {}).get("start_date")
    past = [at for at, one in enumerate(schedule["phases"]) if active and one["end_date"] <= start]
    with account.changing(schedule, "subscription_schedule.updated"):
        schedule["_given"] = [*(schedule["_given"][at] for at in past), *given]
        schedule["phases"] = [*(schedule["phases"][at] for at in past), *made]
        schedule["_end"] = here
        if not past:
            schedule["_start"] = start
        if active:
            schedule["current_phase"] = None
    if active:
        subscription = account.objects["subscriptions"][schedule["subscription"]]
        if schedule["end_behavior"] == "cancel":
            subscription["_ends_at"] = here
        schedules.enter(account, schedule, again=begun is not None and begun >= start)
        subscriptions.watch(account, subscription)
    else:
        account.await_time(start, "schedule", schedule["id"])


def _start(account: Account, schedule: Obj, first: Obj) -> int:
    asked: Any = first.get("start_date")
    if asked is None:
        raise required("phases[0][start_date]")
    start = account.now() if asked == "now" else int(asked)
    known = {phase["start_date"] for phase in schedule["phases"]}
    if schedule["status"] == "active" and start not in known and asked != "now":
        raise invalid("You can not modify the start date of the current phase.", "phases[0][start_date]")
    return start
