"""Calls that a write-back takes, on the virtual clock: a small run of the measurement of `tieout bench`."""

from __future__ import annotations

from tieout_lab.bench.crm import SLOTS, write_back


def test_what_waits_for_a_place_is_written_by_one_call():
    found = write_back(1_500)
    assert found["records"] == 1_500
    assert found["calls"] <= 12
    assert found["most_in_flight"] <= SLOTS
    assert found["refused"] == 0
