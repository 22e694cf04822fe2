"""The hub dies at every port operation of the golden flows, before and after it takes effect: always the same books."""

from __future__ import annotations

import pytest

from tests.process.crash_points import double, points, undisturbed
from tests.process.flows import FLOWS, play
from tieout_lab.simulation.ports import draw


def _same_books(flow: str, deaths: list[tuple[int, bool]]) -> None:
    calm = undisturbed(flow)
    result = play(FLOWS[flow], deaths=deaths)
    where = [(at, "after" if after else "before", calm.trail[at - 1]) for at, after in deaths[:1]]
    again = f"replay: play(FLOWS[{flow!r}], deaths={deaths})  # {where}"
    assert result.wrong == [], again
    assert result.books == calm.books, again
    assert result.lives > 1, again


@pytest.mark.parametrize("part", range(4))
def test_a_deal_to_a_posted_invoice_survives_a_crash_at_every_point(part):
    every = points("posted")
    assert len(every) > 150
    for death in every[part::4]:
        _same_books("posted", [death])


@pytest.mark.parametrize("flow", sorted(FLOWS.keys() - {"posted"}))
def test_the_other_flows_survive_a_sample_of_crashes(flow):
    every = points(flow)
    for number in range(8):
        _same_books(flow, [every[int(draw(flow, number) * len(every))]])


def test_a_second_crash_during_the_recovery():
    every = points("posted")
    for number in range(12):
        first = every[int(draw("first", number) * len(every))]
        second = (1 + int(draw("second", number) * 60), draw("side", number) < 0.5)
        _same_books("posted", [first, second])


@pytest.mark.soak
@pytest.mark.parametrize("flow", sorted(FLOWS))
@pytest.mark.parametrize("part", range(6))
def test_every_flow_survives_a_crash_at_every_point(flow, part):
    for death in points(flow)[part::6]:
        _same_books(flow, [death])


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_two_thousand_double_crashes(part):
    for number in range(200 * part, 200 * part + 200):
        _same_books(*double(number))
