"""When a subscription starts, ends and bills: our calendar days as Stripe's moments. Pure, and without a clock, so that
the same write has the same body on every send.

Stripe counts months in UTC from an anchor: a 31st means the last day of a short month. Midnight at home is another day
in UTC east of Greenwich, where the first of a month is the last of the month before."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tieout.canonical.order import add_months
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
    start = write.starts_at.astimezone(UTC)
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


def schedule_moment(at: datetime, write: SubscriptionWrite, config: StripeConfig) -> datetime:
    """A day's first moment, as a schedule is told it. A schedule bills on the day that its start has in UTC; where
    that is not the day at home, it starts with the day in UTC instead, which is some hours later and the same day at
    home (09:00 in Tokyo): all its periods then begin on the right days."""
    if not _turns(write, config):
        return at
    return datetime.combine(at.astimezone(ZoneInfo(config.time_zone)).date(), time(), UTC)


def end_of(write: SubscriptionWrite, ends_at: datetime) -> datetime:
    """The end, put on Stripe's own period boundary where summer time alone keeps it an hour away: else the last
    period would be cut by that hour, and its amount with it."""
    start, end = write.starts_at.astimezone(UTC), ends_at.astimezone(UTC)
    months = (end.year - start.year) * 12 + end.month - start.month
    near = datetime.combine(add_months(start.date(), max(0, months)), start.timetz())
    return near if abs(near - end) <= timedelta(hours=2) else end


def seconds(at: datetime) -> int:
    """Whole seconds since 1970."""
    return int(at.timestamp())


def _home(write: SubscriptionWrite, config: StripeConfig) -> datetime:
    return write.starts_at.astimezone(ZoneInfo(config.time_zone))


def _turns(write: SubscriptionWrite, config: StripeConfig) -> bool:
    """Whether the start, midnight at home, is another day in UTC. A start that is no midnight in the connection's time
    zone belongs to another one: it is taken as it is."""
    home = _home(write, config)
    return home.time() == time() and home.date() != write.starts_at.astimezone(UTC).date()
