"""Two hundred lives of a company, each with faults and deaths of its own: nothing lost, nothing twice, cents exact."""

from __future__ import annotations

from collections import Counter

import pytest

from tieout_lab.simulation.seeds import live


def _all_well(seeds, **given):
    faults: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    for seed in seeds:
        outcome = live(seed, **given)
        assert outcome.violations == [], f"replay: {outcome.replay()}"
        assert outcome.documents > 0, f"replay: {outcome.replay()}"
        faults.update(outcome.faults)
        ways.update(outcome.ways)
    return faults, ways


@pytest.mark.parametrize("part", range(10))
def test_two_hundred_seeds(part):
    """One process for most, several for the last twenty: these cost four times as much."""
    workers = {} if part == 9 else {"workers": 1}
    faults, ways = _all_well(range(20 * part, 20 * part + 20), **workers)
    for kind in (
        "timeout_after_work",
        "late",
        "error_after",
        "error_before",
        "refuse",
        "rate_limited",
        "malformed",
    ):
        assert faults[kind], f"{kind} never happened"
    for way in ("look-up", "vendor idempotency", "evidence"):
        assert ways[way], f"no doubt was settled by {way}"


def test_kills_at_the_calls_that_make_documents():
    """Before the first byte, while the call is out, after the answer: at an ERP with and without keys."""
    faults, ways = _all_well(range(12), faults="writes", workers=1)
    assert faults["kill at a write"] >= 12
    assert ways["look-up"]


def test_a_seed_is_the_same_every_time():
    first, second = live(3), live(3)
    assert first.hash == second.hash
    assert first.operations == second.operations


@pytest.mark.soak
@pytest.mark.parametrize("part", range(18))
def test_two_thousand_seeds(part):
    _all_well(range(200 + 100 * part, 300 + 100 * part))
