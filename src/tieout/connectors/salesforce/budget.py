"""The org's API calls of the day, which others spend too: writes keep theirs, what can wait slows down and stops."""

from __future__ import annotations

from datetime import datetime, timedelta

from tieout.canonical.outcome import RateLimited
from tieout.connectors.salesforce.wire import Usage

# From here on polling slows down and `check` warns.
SLOW_PERCENT, SLOWER = 80, 4
# From here on polling is slower still, and listings wait: what is left is kept for writes and their read-backs.
RESERVE_PERCENT, SLOWEST = 95, 12
# The allowance counts 24 rolling hours: it comes back bit by bit, never at once.
RETRY_SECONDS = 900


def pace(seconds: int, usage: Usage | None) -> int:
    """The seconds between two polls while this much of the allowance is used."""
    if usage is None or usage.percent < SLOW_PERCENT:
        return seconds
    return seconds * (SLOWEST if usage.percent >= RESERVE_PERCENT else SLOWER)


def reserved(usage: Usage | None, now: datetime) -> RateLimited | None:
    """Why a listing must wait, or None."""
    if usage is None or usage.percent < RESERVE_PERCENT:
        return None
    reason = (
        f"{usage.used} of {usage.allowed} API calls of the last 24 hours used: the rest is kept for writes"
    )
    return RateLimited(reason=reason, retry_at=later(now))


def later(now: datetime) -> datetime:
    """When to ask again once the day's calls are spent."""
    return now + timedelta(seconds=RETRY_SECONDS)
