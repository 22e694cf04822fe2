"""Billing meters: usage events, their sums, and what a metered item is billed for a period that has passed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from tieout_lab.twins.stripe import catalogue, lines, tax
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid, required
from tieout_lab.twins.stripe.pages import chosen, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

DAY = 86_400
OLDEST = 35 * DAY
AHEAD = 300
UNIQUE_FOR = DAY
CANCEL_WITHIN = DAY


def is_metered(item: Obj) -> bool:
    """Whether an item is billed by what was used, when its period is over."""
    return bool(item["price"]["recurring"]["usage_type"] == "metered")


def usage(account: Account, meter: Obj, customer: str, start: int, end: int) -> Decimal:
    """What a customer used in [start, end), as the meter aggregates; cancelled events do not count."""
    key, value = meter["customer_mapping"]["event_payload_key"], meter["value_settings"]["event_payload_key"]
    found = [
        event
        for event in account.all("meter_events")
        if event["event_name"] == meter["event_name"]
        and event["payload"].get(key) == customer
        and start <= event["timestamp"] < end
        and not event["_cancelled"]
    ]
    amounts = [Decimal(event["payload"][value]) for event in sorted(found, key=lambda one: one["timestamp"])]
    match meter["default_aggregation"]["formula"]:
        case "count":
            return Decimal(len(amounts))
        case "last":
            return amounts[-1] if amounts else Decimal(0)
        case _:
            return sum(amounts, Decimal(0))


def past_line(account: Account, subscription: Obj, item: Obj, start: int, end: int) -> Obj:
    """The line of a period that has passed: what was used in it, at the item's price."""
    meter = account.objects["meters"][item["price"]["recurring"]["meter"]]
    # The vendor bills whole units; what is left of one is rounded half up (assumed).
    quantity = tax.rounded(usage(account, meter, subscription["customer"], start, end))
    amount = catalogue.line_amount(item["price"], quantity)
    return lines.of_subscription_item(
        account, subscription, item, amount=amount, start=start, end=end, quantity=quantity
    )


# -- endpoints ------------------------------------------------------------------------------------------------------
def _create(call: Call) -> Obj:
    account, given = call.account, call.given
    if any(
        one["event_name"] == given["event_name"] and one["status"] == "active"
        for one in account.all("meters")
    ):
        raise conflict("An active meter already exists for this event name.", param="event_name")
    now = account.now()
    mapping = given.get("customer_mapping") or {"event_payload_key": "stripe_customer_id", "type": "by_id"}
    meter = account.put(
        "meters",
        {
            "id": account.new_id("mtr"),
            "object": "billing.meter",
            "created": now,
            "customer_mapping": dict(mapping),
            "default_aggregation": dict(given["default_aggregation"]),
            "display_name": given["display_name"],
            "event_name": given["event_name"],
            "event_time_window": given.get("event_time_window"),
            "livemode": account.livemode,
            "status": "active",
            "status_transitions": {"deactivated_at": None},
            "updated": now,
            "value_settings": dict(given.get("value_settings") or {"event_payload_key": "value"}),
        },
    )
    account.emit("billing.meter.created", meter)
    return meter


def _meter(call: Call) -> Obj:
    return call.account.get("meters", call.path["id"], status=404)


def _update(call: Call) -> Obj:
    meter = _meter(call)
    with call.account.changing(meter, "billing.meter.updated"):
        meter["display_name"] = call.given.get("display_name", meter["display_name"])
    return meter


def _activity(status: str, kind: str) -> Callable[[Call], Obj]:
    def change(call: Call) -> Obj:
        meter = _meter(call)
        if meter["status"] == status:
            raise conflict(f"The meter is {status} already.")
        with call.account.changing(meter, kind):
            meter["status"] = status
            off = call.account.now() if status == "inactive" else None
            meter["status_transitions"] = {"deactivated_at": off}
        return meter

    return change


def _event(call: Call) -> Obj:
    account, given = call.account, call.given
    now, when = account.now(), call.given.get("timestamp", call.account.now())
    if not now - OLDEST <= when <= now + AHEAD:
        raise invalid(
            "The timestamp must be within the past 35 days or up to 5 minutes in the future.", "timestamp"
        )
    identifier = given.get("identifier") or account.new_id("mevt")
    known = [one for one in account.all("meter_events") if one["identifier"] == identifier]
    if any(one["created"] > now - UNIQUE_FOR for one in known):
        raise invalid(f"An event already exists with identifier {identifier}.", "identifier")
    meter = next(
        (
            one
            for one in account.all("meters")
            if one["event_name"] == given["event_name"] and one["status"] == "active"
        ),
        None,
    )
    if meter is not None:
        for key in (
            meter["customer_mapping"]["event_payload_key"],
            meter["value_settings"]["event_payload_key"],
        ):
            if key not in given["payload"]:
                raise required(f"payload[{key}]")
    return account.put(
        "meter_events",
        {
            "id": account.new_id("mevt"),
            "object": "billing.meter_event",
            "created": now,
            "event_name": given["event_name"],
            "identifier": identifier,
            "livemode": account.livemode,
            "payload": dict(given["payload"]),
            "timestamp": when,
            "_cancelled": False,
        },
    )


def _shown_event(call: Call) -> Obj:
    return {name: value for name, value in _event(call).items() if name != "id"}


def _adjust(call: Call) -> Obj:
    account, given = call.account, call.given
    identifier = (given.get("cancel") or {}).get("identifier")
    if identifier is None:
        raise required("cancel[identifier]")
    known = [one for one in account.all("meter_events") if one["identifier"] == identifier]
    if not known or known[-1]["created"] < account.now() - CANCEL_WITHIN:
        raise invalid("No such event in the last 24 hours.", "cancel[identifier]", "resource_missing")
    known[-1]["_cancelled"] = True
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": given["event_name"],
        "livemode": account.livemode,
        "status": "pending",
        "type": "cancel",
    }


def _summaries(call: Call) -> Obj:
    account, given, meter = call.account, call.given, _meter(call)
    start, end = given["start_time"], given["end_time"]
    for name, value in (("start_time", start), ("end_time", end)):
        if value % 60:
            raise invalid(f"{name} must be aligned with minute boundaries.", name)
    step = {"hour": 3600, "day": DAY}.get(given.get("value_grouping_window", ""), end - start)
    found = [
        {
            "id": f"mtrusg_{meter['id'].removeprefix('mtr_')}{first}",
            "object": "billing.meter_event_summary",
            "aggregated_value": float(
                usage(account, meter, given["customer"], first, min(first + step, end))
            ),
            "end_time": min(first + step, end),
            "livemode": account.livemode,
            "meter": meter["id"],
            "start_time": first,
        }
        for first in range(start, end, max(step, 1))
    ]
    return page(found[::-1], given, call.url, "meter_event_summaries")


def routes(desk: Desk) -> None:
    """Declare the endpoints of meters, their events and sums."""
    one = "/v1/billing/meters/{id}"
    desk.v1("GET", "/v1/billing/meters", "meters.list", lambda c: page(
        chosen(c.account.all("meters"), c.given, "status"), c.given, c.url, "meters"
    ))  # fmt: skip
    desk.v1("POST", "/v1/billing/meters", "meters.create", _create)
    desk.v1("GET", one, "meters.retrieve", _meter)
    desk.v1("POST", one, "meters.update", _update)
    desk.v1(
        "POST", one + "/deactivate", "meters.deactivate", _activity("inactive", "billing.meter.deactivated")
    )
    desk.v1(
        "POST", one + "/reactivate", "meters.reactivate", _activity("active", "billing.meter.reactivated")
    )
    desk.v1("GET", one + "/event_summaries", "meters.summaries", _summaries)
    desk.v1("POST", "/v1/billing/meter_events", "meter_events.create", _shown_event)
    desk.v1("POST", "/v1/billing/meter_event_adjustments", "meter_events.adjust", _adjust)
