"""Outcomes to decisions: one pure function says what happens next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from tieout.canonical.model import Value
from tieout.canonical.outcome import (
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SendOutcome,
    Transient,
)

# 1, 2, 4 ... seconds, at most 5 minutes apart: a day of outage costs some 300 tries of one lane.
_FIRST_SECONDS = 1
_LONGEST_SECONDS = 300
# A definite "not now" that lasts longer than this is somebody's business.
PATIENCE_ATTEMPTS = 320
BUG_ATTEMPTS = 3


class Again(Value, frozen=True):
    """Run once more at `at`."""

    at: datetime
    reason: str


class Park(Value, frozen=True):
    """This document cannot go on without a person."""

    code: str
    cause: str
    remedy: str


class Block(Value, frozen=True):
    """Nothing in this scope can go on without a person: one blocker, however many documents."""

    scope: str
    key: str
    message: str
    remedy: str


Decision: TypeAlias = Again | Park | Block


def backoff(now: datetime, attempt: int, jitter: float) -> datetime:
    """The moment of the next try after `attempt` failed ones; `jitter` in [0, 1) spreads it over half the wait."""
    seconds = min(_LONGEST_SECONDS, _FIRST_SECONDS << min(attempt, 12))
    return now + timedelta(seconds=1) * (seconds * (100 + int(50 * jitter)) / 100)


def decide(outcome: SendOutcome, now: datetime, attempt: int, jitter: float) -> Decision:
    """What to do about an outcome other than Confirmed."""
    later = backoff(now, attempt, jitter)
    if isinstance(outcome, RateLimited):
        return Again(at=max(outcome.retry_at or later, now), reason=outcome.reason)
    if isinstance(outcome, Transient):
        if attempt >= PATIENCE_ATTEMPTS:
            return Park(
                code="unreachable",
                cause=f"tried {attempt} times: {outcome.reason}",
                remedy="see whether the other system is up, then `tieout exceptions retry`",
            )
        return Again(at=max(outcome.retry_at or later, now), reason=outcome.reason)
    if isinstance(outcome, OutcomeUnknown):
        return Again(at=later, reason=outcome.reason)
    if isinstance(outcome, Rejected):
        return Park(
            code=outcome.code,
            cause=outcome.message,
            remedy="mend what the other system complains of, then `tieout exceptions retry`",
        )
    if isinstance(outcome, Misconfigured):
        return Block(scope=outcome.scope, key=outcome.key, message=outcome.message, remedy=outcome.remedy)
    raise TypeError(f"no decision for {outcome!r}")
