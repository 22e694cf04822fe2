"""Keys are a compatibility contract: what was written outside yesterday is found tomorrow. This file may only grow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tieout.canonical.ids import Ref
from tieout.engine import keys

GOLDEN = json.loads((Path(__file__).parent / "keys.json").read_text())
HISTORY = 16


@pytest.mark.parametrize("case", GOLDEN["effects"], ids=lambda case: case["effect_key"])
def test_effect_document_and_wire_keys(case):
    source = Ref(connection=case["source"][0], kind=case["source"][1], id=case["source"][2])
    key = keys.effect_key(
        case["company"],
        case["connection"],
        case["operation"],
        source,
        ordinal=case["ordinal"],
        generation=case["generation"],
    )
    assert key == case["effect_key"]
    assert keys.document_key(key) == case["document_key"]
    assert [keys.wire_key(key, epoch) for epoch in (0, 1)] == case["wire_keys"]
    assert keys.trace_of(source) == case["trace"]
    assert keys.lane_of(source) == case["lane"]


@pytest.mark.parametrize("case", GOLDEN["announcements"], ids=lambda case: f"{case['type']}-{case['id']}")
def test_the_ids_of_what_the_outside_is_told(case):
    given = [case[name] for name in ("company", "type", "subject", "occurrence")]
    assert keys.announcement_id(*given) == case["id"]
    assert "." not in case["id"]


def test_the_file_only_grows():
    assert len(GOLDEN["effects"]) >= HISTORY
    assert len(GOLDEN["announcements"]) >= 6


def test_a_document_key_fits_everywhere():
    found = {keys.document_key(str(number)) for number in range(5_000)}
    assert len(found) == 5_000
    assert all(len(key) == 16 and not set(key) & set("ILOU") and key == key.upper() for key in found)
