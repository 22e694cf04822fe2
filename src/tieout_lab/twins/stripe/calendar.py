"""Billing periods: from an anchor, by months and days as the calendar has them, in UTC; and parts of periods."""

from __future__ import annotations

import calendar as months
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tieout_lab.twins.stripe.accounts import Obj

Recurring = Obj


def boundary(anchor: int, recurring: Recurring, steps: int, on_day: int | None = None) -> int:
    """The moment `steps` intervals after the anchor (before it, if negative); day 31 becomes the last of the month.

    `on_day` is the day of the month that is meant, where the anchor's own month was too short for it."""
    count = recurring["interval_count"] * steps
    start = datetime.fromtimestamp(anchor, UTC)
    match recurring["interval"]:
        case "day":
            return int((start + timedelta(days=count)).timestamp())
        case "week":
            return int((start + timedelta(weeks=count)).timestamp())
        case "month":
            total = start.year * 12 + start.month - 1 + count
        case _:
            total = (start.year + count) * 12 + start.month - 1
    year, month = divmod(total, 12)
    day = min(on_day or start.day, months.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def day_of(moment: int) -> int:
    """The day of the month of a moment, in UTC."""
    return datetime.fromtimestamp(moment, UTC).day


def period_of(anchor: int, recurring: Recurring, moment: int, on_day: int | None = None) -> tuple[int, int]:
    """The natural period, start included, end not, in which a moment lies."""
    days = {"day": 1, "week": 7, "month": 30.44, "year": 365.25}[recurring["interval"]]
    steps = int((moment - anchor) / (days * 86400 * recurring["interval_count"]))
    while boundary(anchor, recurring, steps, on_day) > moment:
        steps -= 1
    while boundary(anchor, recurring, steps + 1, on_day) <= moment:
        steps += 1
    return boundary(anchor, recurring, steps, on_day), boundary(anchor, recurring, steps + 1, on_day)


def natural_parts(
    anchor: int, recurring: Recurring, start: int, end: int, on_day: int | None = None
) -> list[tuple[int, int, Decimal]]:
    """[start, end) cut at the natural boundaries: (from, to, share of its whole period)."""
    found = []
    here = start
    while here < end:
        first, last = period_of(anchor, recurring, here, on_day)
        stop = min(last, end)
        found.append((here, stop, Decimal(stop - here) / Decimal(last - first)))
        here = stop
    return found


def periods_in(start: int, end: int, recurring: Recurring) -> Decimal:
    """How many intervals, counted from `start`, lie in [start, end): whole ones and a share of the last."""
    steps = 0
    while boundary(start, recurring, steps + 1) <= end:
        steps += 1
    first, last = boundary(start, recurring, steps), boundary(start, recurring, steps + 1)
    return steps + Decimal(end - first) / Decimal(last - first)


def next_occurrence(after: int, config: Obj) -> int:
    """The first moment after `after` on the day of the month (and in the month) that the configuration names."""
    start = datetime.fromtimestamp(after, UTC)
    hour, minute, second = (
        start.hour if config.get("hour") is None else config["hour"],
        start.minute if config.get("minute") is None else config["minute"],
        start.second if config.get("second") is None else config["second"],
    )
    total = start.year * 12 + start.month - 1
    while True:
        year, month = divmod(total, 12)
        total += 1
        if config.get("month") not in (None, month + 1):
            continue
        day = min(config["day_of_month"], months.monthrange(year, month + 1)[1])
        found = int(datetime(year, month + 1, day, hour, minute, second, tzinfo=UTC).timestamp())
        if found > after:
            return found
