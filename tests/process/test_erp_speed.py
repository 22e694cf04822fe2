"""Documents an hour through a slow ERP, on the virtual clock: a small run of the measurement of `tieout bench`."""

from __future__ import annotations

from tieout_lab.bench.erp import SLOTS, documents_per_hour


def test_the_slots_are_used_and_never_passed():
    found = documents_per_hour(deals=15, months=2, batch_size=0)
    assert found["documents"] == 30
    assert found["calls_per_document"] == 2
    assert found["most_in_flight"] == SLOTS
    assert found["refused"] == 0
    assert 0.85 < found["ratio"] <= 1.02


def test_batches_need_fewer_calls_and_pass_no_slot():
    found = documents_per_hour(deals=30, months=2, batch_size=100)
    assert found["documents"] == 60
    assert found["calls_per_document"] <= 2
    assert found["most_in_flight"] <= SLOTS
    assert found["refused"] == 0
