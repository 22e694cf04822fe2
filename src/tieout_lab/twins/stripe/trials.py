"""Trials: a time that costs nothing before the first period that does."""

from __future__ import annotations

from tieout_lab.twins.stripe import lines
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import invalid, left_out

DAY = 86_400
WARNED_BEFORE = 3 * DAY
LONGEST = 730 * DAY


def end_of(account: Account, given: Obj) -> int | None:
    """When the trial ends that the parameters of a subscription ask for; None without one."""
    if given.get("trial_from_plan"):
        raise left_out("trial_from_plan: give trial_period_days", "trial_from_plan")
    if "trial_end" in given and "trial_period_days" in given:
        raise invalid("Only one of trial_end and trial_period_days.", "trial_end", "parameters_exclusive")
    now = account.now()
    if "trial_period_days" in given:
        days = given["trial_period_days"]
        if not 0 <= days * DAY <= LONGEST:
            raise invalid(f"trial_period_days: between 0 and {LONGEST // DAY}", "trial_period_days")
        return now + days * DAY if days else None
    end = given.get("trial_end")
    if end is None or end == "now":
        return None
    return checked(account, end)


def checked(account: Account, end: int) -> int:
    """A moment at which a trial may end."""
    if end <= account.now():
        raise invalid("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    if end > account.now() + LONGEST:
        raise invalid("Invalid timestamp: can be no more than two years in the future.", "trial_end")
    return end


def settings(given: Obj) -> Obj:
    """`trial_settings` as they are shown; pausing at the end is not done here."""
    asked = (given.get("trial_settings") or {}).get("end_behavior") or {}
    if asked.get("missing_payment_method") == "pause":
        raise left_out(
            "pausing at the end of a trial", "trial_settings[end_behavior][missing_payment_method]"
        )
    return {"end_behavior": {"missing_payment_method": asked.get("missing_payment_method", "create_invoice")}}


def begin(account: Account, subscription: Obj, start: int, end: int) -> None:
    """The subscription is on trial until then; three days before its end somebody is told."""
    subscription |= {"status": "trialing", "trial_start": start, "trial_end": end}
    account.await_time(max(account.now(), end - WARNED_BEFORE), "trial", subscription["id"])


def warn(account: Account, identifier: str) -> None:
    """A step of the billing run: the trial is about to end."""
    subscription = account.find("subscriptions", identifier)
    if subscription is None or subscription["status"] != "trialing":
        return
    if account.now() >= max(subscription["trial_start"], subscription["trial_end"] - WARNED_BEFORE):
        account.emit("customer.subscription.trial_will_end", subscription)


def free_line(account: Account, subscription: Obj, item: Obj, start: int, end: int) -> Obj:
    """The line of a trial's time: it costs nothing."""
    line = lines.of_subscription_item(account, subscription, item, amount=0, start=start, end=end)
    product = account.find("products", item["price"]["product"]) or {"name": item["price"]["product"]}
    line["description"] = f"Trial period for {product['name']}"
    return line
