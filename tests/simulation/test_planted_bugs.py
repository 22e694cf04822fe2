"""The tester tested: bugs planted one at a time, each caught within a few seeds, and by which invariant."""

from __future__ import annotations

import re

import pytest

from tests.simulation.bugs import BUGS, plant
from tests.simulation.planted_bugs import SEEDS, hunt
from tieout_lab.simulation.campaign import attempt
from tieout_lab.simulation.seeds import Plan

# A handful for every run of the tests, each found by one of the first seeds.
QUICK = {
    "version_in_the_key": "I0[1-9]|I14|I21",
    "company_left_out_of_the_key": "I20",
    "ignored_row_count": "I22",
    "stamp_only_sweep_id": "I0[3-9]|I21",
    "lost_wake_up": "I21|I09|I03",
    "sent_committed_after_the_send": "I0[1-4]|I21",
}


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught_within_a_few_seeds(name):
    found = hunt(name, 60)
    assert found.seed >= 0, f"{name} was not caught"
    assert re.match(QUICK[name], found.said), found


def test_a_kill_between_the_send_and_a_late_commit_makes_a_double():
    """At an ERP that enforces no key, and only with the bug: nobody knows of the first document."""
    plan = Plan(4, faults="writes", workers=1)
    with plant("sent_committed_after_the_send"):
        assert any(one.startswith("I01 2 documents") for one in attempt(plan).violations)
    assert attempt(plan).violations == []


def test_there_are_thirty_bugs():
    assert len(BUGS) >= 30
    assert [name for name, bug in BUGS.items() if not bug.breaks] == []


@pytest.mark.parametrize("name", sorted(BUGS))
def test_every_bug_can_still_be_planted(name):
    """What they swap moves as the hub grows: a bug that is planted nowhere would be hunted in vain."""
    with plant(name):
        pass


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(BUGS))
def test_every_planted_bug_is_caught(name):
    assert hunt(name, SEEDS).seed >= 0, f"{name} was not caught by {SEEDS} seeds"
