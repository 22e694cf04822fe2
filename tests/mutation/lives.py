"""A few short lives of a company, as tests that only the mutation run asks for: `python -m tests.mutation`."""

from __future__ import annotations

import pytest

from tieout_lab.simulation.seeds import live


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 1), (4, 1), (3, 2)])
def test_a_life(seed: int, workers: int) -> None:
    outcome = live(seed, workers=workers)
    assert outcome.violations == []


@pytest.mark.parametrize("seed", range(2))
def test_a_life_with_kills_at_its_writes(seed: int) -> None:
    assert live(seed, faults="writes", workers=1).violations == []
