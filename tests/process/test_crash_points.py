"""The hub dies at every port operation of the golden flows, before and after it takes effect: always the same books."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.process.flows import FLOWS, Result, play
from tieout_lab.simulation.ports import draw

# What the loops do over and over when there is nothing to do; of each, the first few times are enough.
_IDLE = {
    "commit lanes.claim",
    "commit workers.renew",
    "commit workers.forget_dead",
    "commit feeds.own",
    "commit feeds.move",
    "commit waiters.sweep",
    "commit waiters.look_again",
    "commit exceptions.reopen_due",
    "commit audit.head",
    "call changes.poll",
    "call event.list",
}
_ENOUGH = 3


@cache
def _undisturbed(flow: str) -> Result:
    result = play(FLOWS[flow])
    assert result.wrong == []
    return result


def _points(flow: str) -> list[tuple[int, bool]]:
    """Every port operation that does something, before and after."""
    seen: Counter[str] = Counter()
    points = []
    for at, what in enumerate(_undisturbed(flow).trail, start=1):
        seen[what] += 1
        if what not in _IDLE or seen[what] <= _ENOUGH:
            points += [(at, False), (at, True)]
    return points


def _same_books(flow: str, deaths: list[tuple[int, bool]]) -> None:
    undisturbed = _undisturbed(flow)
    result = play(FLOWS[flow], deaths=deaths)
    where = [(at, "after" if after else "before", undisturbed.trail[at - 1]) for at, after in deaths[:1]]
    again = f"replay: play(FLOWS[{flow!r}], deaths={deaths})  # {where}"
    assert result.wrong == [], again
    assert result.books == undisturbed.books, again
    assert result.lives > 1, again


@pytest.mark.parametrize("part", range(4))
def test_a_deal_to_a_posted_invoice_survives_a_crash_at_every_point(part):
    points = _points("posted")
    assert len(points) > 150
    for death in points[part::4]:
        _same_books("posted", [death])


@pytest.mark.parametrize("flow", sorted(FLOWS.keys() - {"posted"}))
def test_the_other_flows_survive_a_sample_of_crashes(flow):
    points = _points(flow)
    for number in range(12):
        _same_books(flow, [points[int(draw(flow, number) * len(points))]])


def test_a_second_crash_during_the_recovery():
    points = _points("posted")
    for number in range(12):
        first = points[int(draw("first", number) * len(points))]
        second = (1 + int(draw("second", number) * 60), draw("side", number) < 0.5)
        _same_books("posted", [first, second])


@pytest.mark.soak
@pytest.mark.parametrize("flow", sorted(FLOWS))
@pytest.mark.parametrize("part", range(6))
def test_every_flow_survives_a_crash_at_every_point(flow, part):
    for death in _points(flow)[part::6]:
        _same_books(flow, [death])


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_two_thousand_double_crashes(part):
    flows = sorted(FLOWS)
    for number in range(200 * part, 200 * part + 200):
        flow = flows[number % len(flows)]
        points = _points(flow)
        first = points[int(draw("double", number) * len(points))]
        second = (1 + int(draw("double again", number) * 120), draw("double side", number) < 0.5)
        _same_books(flow, [first, second])
