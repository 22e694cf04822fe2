"""When a subscription starts, ends and bills: our calendar days as Stripe's moments. Pure, and without a clock, so that
the same write has the same body on every send.

Stripe counts months in UTC from an anchor: a 31st means the last day of a short month. Midnight at home is another day
in UTC east of Greenwich, where the first of a month is the last of the month before."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from tieout.canonical.write import SubscriptionWrite
from tieout.connectors.stripe.config import StripeConfig

Form = list[tuple[str, str]]

# A day of the month that a shorter month lacks.
LATE_DAY = 29


def by_schedule(write: SubscriptionWrite, config: StripeConfig) -> bool:
    """Whether the contract is made as a schedule: a future start; and a past one whose cycle no subscription can be
    told. A schedule takes its cycle from its own start, which may lie in the past.

    That is a quarterly one (`billing_cycle_anchor_config` knows months and years only, and a moment would have to be
    chosen by the clock, and differ from send to send); and one that starts on a day, at home, that short months lack,
    where that day is another in UTC."""
    if write.future:
        return True
    if not config.align_billing_cycle:
        return False
    return write.frequency == "quarter" or (_turns(write, config) and _home(write, config).day >= LATE_DAY)


def anchor(write: SubscriptionWrite, config: StripeConfig) -> Form:
    """Keep billing on the day of the start, however many periods have gone by: the vendor itself takes the next such
    day. Without it Stripe bills from the moment at which the subscription is made."""
    if not config.align_billing_cycle:
        return []
    start = day_moment(write.starts_at, config).astimezone(UTC)
    # The first of a month at home is the last of one in UTC: 31 means just that.
    first = _turns(write, config) and _home(write, config).day == 1
    name = "billing_cycle_anchor_config"
    body = [
        (f"{name}[day_of_month]", "31" if first else str(start.day)),
        (f"{name}[hour]", str(start.hour)),
        (f"{name}[minute]", str(start.minute)),
        (f"{name}[second]", str(start.second)),
    ]
    return [*body, (f"{name}[month]", str(start.month))] if write.frequency == "year" else body


def day_moment(at: datetime, config: StripeConfig) -> datetime:
    """The first moment of a day at home that stays within that day when summer time comes or goes: midnight in standard
    time, which is 01:00 in summer. Stripe steps by months in UTC; from a midnight of summer it would bill at 23:00 of
    the day before all winter. What is no midnight in the connection's time zone is another zone's: taken as it is."""
    home = at.astimezone(ZoneInfo(config.time_zone))
    if home.time() != time():
        return at
    standard = min(home.replace(month=month, day=1).utcoffset() or timedelta() for month in (1, 7))
    return datetime.combine(home.date(), time(), timezone(standard)).astimezone(UTC)


def schedule_moment(at: datetime, write: SubscriptionWrite, config: StripeConfig) -> datetime:
    """A day's first moment, as a schedule is told it. A schedule bills on the day that its start has in UTC; where
    that is not the day at home, it starts with the day in UTC instead, which is some hours later and the same day at
    home (09:00 in Tokyo): all its periods then begin on the right days."""
    if not _turns(write, config):
        return day_moment(at, config)
    return datetime.combine(at.astimezone(ZoneInfo(config.time_zone)).date(), time(), UTC)


def seconds(at: datetime) -> int:
    """Whole seconds since 1970."""
    return int(at.timestamp())


def _home(write: SubscriptionWrite, config: StripeConfig) -> datetime:
    return write.starts_at.astimezone(ZoneInfo(config.time_zone))


def _turns(write: SubscriptionWrite, config: StripeConfig) -> bool:
    """Whether the start, midnight at home, is another day in UTC."""
    home = _home(write, config)
    return home.time() == time() and home.date() != day_moment(write.starts_at, config).astimezone(UTC).date()
