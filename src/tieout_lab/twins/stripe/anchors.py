"""Subscriptions whose periods begin anew: an anchor set to now, another interval, a trial that ends or is moved."""

from __future__ import annotations

from tieout_lab.twins.stripe import calendar, periods, trials
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import invalid, left_out

Changes = list[tuple[Obj | None, Obj | None, Obj]]


def restarts(given: Obj, changes: Changes) -> bool:
    """Whether an update makes every period begin now: it says so, or an item gets a price of another interval."""
    asked = given.get("billing_cycle_anchor", "unchanged")
    if (asked.get("type") if isinstance(asked, dict) else asked) == "now":
        return True
    return any(
        item is not None and price is not None and _interval(price) != _interval(item["price"])
        for item, price, _ in changes
    )


def _interval(price: Obj) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def restart(account: Account, subscription: Obj) -> list[Obj]:
    """Every item begins a whole period now, from which the later ones are counted; answers its lines."""
    now = account.now()
    subscription["billing_cycle_anchor"], subscription["_on_day"] = now, None
    subscription["billing_cycle_anchor_config"] = None
    own: list[Obj] = []
    for item in subscription["items"]["data"]:
        natural = calendar.boundary(now, item["price"]["recurring"], 1)
        span = (now, periods.end_of(subscription, natural))
        item["current_period_start"], item["current_period_end"] = span
        item["billed_until"] = span[1]
        own = periods.past_lines(account, subscription, item, *span, now) + own
    return own


def span_of_added(account: Account, subscription: Obj, price: Obj) -> tuple[int, int]:
    """The period of an item that is added: that of the others; where it has an interval of its own, its natural one."""
    items, now = subscription["items"]["data"], account.now()
    start = min(item["current_period_start"] for item in items)
    end = min(item["current_period_end"] for item in items)
    alike = any(_interval(item["price"]) == _interval(price) for item in items)
    if alike or end <= now or subscription["status"] == "trialing":
        return start, end
    anchor, on_day = subscription["billing_cycle_anchor"], subscription["_on_day"]
    first, natural = calendar.period_of(anchor, price["recurring"], now, on_day)
    return first, periods.end_of(subscription, natural)


def trial_change(account: Account, given: Obj, subscription: Obj) -> int | None:
    """The new end of a trial, now or later; None where none is asked for."""
    if given.get("trial_from_plan"):
        raise left_out("trial_from_plan", "trial_from_plan")
    end = given.get("trial_end")
    if end is None:
        return None
    if subscription["status"] != "trialing":
        if end == "now":
            return None
        raise left_out("a trial of a subscription that has been billed", "trial_end")
    return account.now() if end == "now" else trials.checked(account, int(end))


def move_trial(account: Account, subscription: Obj, end: int) -> list[Obj]:
    """The trial ends then; if that is now, what follows costs something: answers the lines of it."""
    subscription["trial_end"] = subscription["billing_cycle_anchor"] = end
    if end > account.now():
        for item in subscription["items"]["data"]:
            item["current_period_end"] = item["billed_until"] = end
        trials.begin(account, subscription, subscription["trial_start"], end)
        return []
    subscription["status"] = "active"
    return restart(account, subscription)


def period_end(subscription: Obj, asked: str) -> int:
    """`min_period_end` or `max_period_end`, of the items as they are."""
    ends: list[int] = [item["current_period_end"] for item in subscription["items"]["data"]]
    if not ends:
        raise invalid("A subscription without items has no period.", "cancel_at")
    return max(ends) if asked.startswith("max") else min(ends)
