"""The billing run: does, in the order of time, all that the business clock has made due.

Each step has its own business moment, so that a clock that jumps a year leaves a year of documents with their own
dates behind.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from tieout_lab.twins.stripe import (
    calendar,
    invoices,
    meters,
    periods,
    schedules,
    settlements,
    subscriptions,
    trials,
)
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.customers import owes
from tieout_lab.twins.stripe.errors import Refusal
from tieout_lab.twins.stripe.payments import collect, method_of


def run(account: Account) -> int:
    """Catch up with the business clock; answers how many steps that took."""
    if account.moment is not None:
        return 0
    now, steps = account.now(), 0
    while account.due and account.due[0][0] <= now:
        moment, _, what, identifier = heapq.heappop(account.due)
        account.moment = moment
        try:
            STEPS[what](account, identifier)
        finally:
            account.moment = None
        steps += 1
    return steps


def _finalize(account: Account, identifier: str) -> None:
    invoice = account.find("invoices", identifier)
    if invoice is None or invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    try:
        invoices.finalize(account, invoice)
    except Refusal as refusal:
        invoice["last_finalization_error"] = {
            "code": refusal.code,
            "message": refusal.message,
            "type": refusal.kind,
        }
        invoice["automatic_tax"]["status"] = "requires_location_inputs"
        account.emit("invoice.finalization_failed", invoice)
        return
    collect(account, invoice)


def _overdue(account: Account, identifier: str) -> None:
    invoice = account.find("invoices", identifier)
    if invoice is None or invoice["status"] != "open" or invoice["amount_remaining"] <= 0:
        return
    owes(account, invoice["customer"], late=True)
    subscription = account.find("subscriptions", invoice["_subscription"] or "")
    if subscription and subscription["status"] == "active":
        with account.changing(subscription, "customer.subscription.updated"):
            subscription["status"] = "past_due"


def _subscription(account: Account, identifier: str) -> None:
    subscription = account.find("subscriptions", identifier)
    if subscription is None or subscription["status"] in subscriptions.OVER:
        return
    now = account.now()
    schedule = account.find("subscription_schedules", subscription["schedule"] or "")
    if schedule is not None and schedule["status"] == "active" and now < schedule["_end"]:
        schedules.enter(account, schedule)  # a phase that begins now prices the period that begins now
    over = [when for when in (subscription["cancel_at"], subscription["_ends_at"]) if when is not None]
    if subscription["cancel_at_period_end"]:
        over.append(max(item["current_period_end"] for item in subscription["items"]["data"]))
    if over and min(over) <= now:
        _last_usage(account, subscription)
        subscriptions.end(account, subscription, "cancellation_requested")
        schedules.subscription_ended(account, subscription)
        return
    due = [item for item in subscription["items"]["data"] if item["current_period_end"] <= now]
    if not due:
        subscriptions.watch(account, subscription)
        return
    if subscription["status"] == "trialing" and not _trial_is_paid_for(account, subscription):
        return
    _renew(account, subscription, due)
    subscriptions.watch(account, subscription)


def _trial_is_paid_for(account: Account, subscription: Obj) -> bool:
    """At the end of a trial without a way to pay, the subscription ends where it was told to."""
    method = method_of(account, {"_subscription": subscription["id"], "customer": subscription["customer"]})
    by_card = subscription["collection_method"] == "charge_automatically"
    asked = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if asked == "cancel" and by_card and method is None:
        subscriptions.end(account, subscription, "payment_failed")
        return False
    return True


def _last_usage(account: Account, subscription: Obj) -> None:
    """What was used in the last period is billed when the subscription ends."""
    now = account.now()
    used = [item for item in subscription["items"]["data"] if meters.is_metered(item)]
    own = [meters.past_line(account, subscription, item, item["current_period_start"], now) for item in used]
    if own:
        start = min(item["current_period_start"] for item in used)
        invoice = subscriptions.invoice_for(account, subscription, "subscription_cycle", start, own)
        if invoice is not None:
            subscriptions.finalize_later(account, invoice)


def _renew(account: Account, subscription: Obj, due: list[Obj]) -> None:
    """The next period of the items that are due, and its invoice."""
    anchor = subscription["billing_cycle_anchor"]
    before = min(item["current_period_start"] for item in due)
    own: list[Obj] = []
    with account.changing(subscription, "customer.subscription.updated"):
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        for item in due:
            start = item["current_period_end"]
            if meters.is_metered(item):
                own.append(meters.past_line(account, subscription, item, item["current_period_start"], start))
            _, natural = calendar.period_of(
                anchor, item["price"]["recurring"], start, subscription["_on_day"]
            )
            item["current_period_start"] = start
            item["current_period_end"] = item["billed_until"] = periods.end_of(subscription, natural)
            span = (start, item["current_period_end"])
            own = periods.past_lines(account, subscription, item, *span, anchor) + own
        invoice = subscriptions.invoice_for(account, subscription, "subscription_cycle", before, own)
    if invoice is not None:
        subscriptions.finalize_later(account, invoice)


STEPS: dict[str, Callable[[Account, str], None]] = {
    "finalize": _finalize,
    "incomplete": subscriptions.expire,
    "overdue": _overdue,
    "payout": settlements.arrive,
    "resume": subscriptions.resume,
    "schedule": schedules.due,
    "subscription": _subscription,
    "trial": trials.warn,
}
