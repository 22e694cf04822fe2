"""`tieout bench` runs, far too small to measure anything."""

from __future__ import annotations

import json

import pytest

from tieout_lab.bench.main import run

# The others take minutes at any size, or have a small run of their own (tests/process/test_erp_speed.py).
PARTS = ("end_to_end", "intake", "vendor_limited")


def test_a_small_bench_counts_every_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(events=100, json_output=True, only=PARTS) in (0, 1)
    document = json.loads(capsys.readouterr().out)
    assert set(document["figures"]) == set(PARTS)
    assert document["figures"]["end_to_end"]["calls_per_event"] == 5
    assert document["figures"]["vendor_limited"]["over_ceiling"] == 0
    assert {"end to end", "intake"} <= {
        goal["goal"].split(" on ")[0].split(",")[0] for goal in document["goals"]
    }
