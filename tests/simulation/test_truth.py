"""The checker of outside truth, where it had to be told something itself."""

from __future__ import annotations

from datetime import date
from typing import Any

from tieout_lab.simulation.truth import Owed, Truth


def _recovery(id_: str, day: str, total: int = 500) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "invoice",
        "reason": "recovered",
        "source": "in_1",
        "number": id_,
        "total_minor": total,
        "currency": "USD",
        "subsidiary": "1",
        "date": day,
        "period": f"{date.fromisoformat(day):%b %Y}",
    }


def _found(*documents: dict[str, Any]) -> list[str]:
    """What is said of these where two halves were paid, in January and in February."""
    truth = Truth({}, {}, {"documents": list(documents)})
    owed = [
        Owed("invoice", "recovered", "in_1", "1", "USD", 500, None, date(2026, month, 11)) for month in (1, 2)
    ]
    truth._documents(owed)
    return truth.found


def test_two_halves_that_were_paid_a_month_apart_are_two_documents() -> None:
    """Seed 24, --days 1: the second half was compared with the document of the first, and its date was wrong."""
    january, february = _recovery("1", "2026-01-11"), _recovery("2", "2026-02-11")
    assert _found(january, february) == []
    assert _found(february, january) == []
    assert _found(january) == ["I09 missing: recovery of in_1, 500 USD"]
    late = _recovery("2", "2026-03-11")
    assert [one.split()[0] for one in _found(january, late)] == ["I12", "I12"]
