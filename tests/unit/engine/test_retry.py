"""One pure function turns an outcome into what happens next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tieout.canonical.outcome import (
    Confirmed,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Receipt,
    Rejected,
    Transient,
)
from tieout.engine.retry import PATIENCE_ATTEMPTS, Again, Block, Park, backoff, decide

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "outcome", [Transient(reason="busy"), RateLimited(reason="429"), OutcomeUnknown(reason="lost")]
)
def test_what_may_pass_is_tried_again_later(outcome):
    decision = decide(outcome, NOW, 0, 0.0)
    assert isinstance(decision, Again)
    assert decision.at > NOW


def test_the_vendors_own_word_on_when_is_kept():
    later = NOW + timedelta(hours=1)
    assert decide(RateLimited(reason="429", retry_at=later), NOW, 0, 0.0).at == later
    assert decide(Transient(reason="503", retry_at=NOW - timedelta(hours=1)), NOW, 0, 0.0).at == NOW


def test_not_now_that_lasts_too_long_is_somebodys_business():
    assert isinstance(decide(Transient(reason="down"), NOW, PATIENCE_ATTEMPTS, 0.0), Park)
    assert isinstance(decide(RateLimited(reason="429"), NOW, PATIENCE_ATTEMPTS, 0.0), Again)
    assert isinstance(decide(OutcomeUnknown(reason="lost"), NOW, PATIENCE_ATTEMPTS, 0.0), Again)


def test_a_refusal_parks_with_the_vendors_words():
    decision = decide(Rejected(code="INVALID", message="no such item"), NOW, 0, 0.0)
    assert isinstance(decision, Park)
    assert (decision.code, decision.cause) == ("INVALID", "no such item")


def test_what_is_misconfigured_blocks_its_scope():
    decision = decide(
        Misconfigured(scope="period", key="us|2026-01", message="closed", remedy="ask"), NOW, 0, 0.0
    )
    assert decision == Block(scope="period", key="us|2026-01", message="closed", remedy="ask")


def test_success_needs_no_decision():
    with pytest.raises(TypeError):
        decide(Confirmed(receipt=Receipt(external_id="1")), NOW, 0, 0.0)


def test_back_off_doubles_to_five_minutes_and_spreads():
    waits = [(backoff(NOW, attempt, 0.0) - NOW).total_seconds() for attempt in range(12)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 300
    assert (backoff(NOW, 3, 0.99) - NOW).total_seconds() == pytest.approx(8 * 1.49)
    assert (backoff(NOW, 10_000, 0.0) - NOW).total_seconds() == 300
