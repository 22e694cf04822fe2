"""The comparison with other engines: what the stub counts, and how a run is judged."""

from __future__ import annotations

from typing import Any

import pytest

from tieout_lab.bench.peers import compare, work
from tieout_lab.bench.peers.engines import ENGINES, Engine
from tieout_lab.bench.stub import Events, State, route


def named(name: str) -> Engine:
    return next(engine for engine in ENGINES if engine.name == name)


def turn(rate: float, **given: Any) -> dict[str, Any]:
    whole = {"calls": 5000, "twice": 0, "out_of_order": 0, "lanes_out_of_order": 0, "results": 5000}
    more = {
        "audit_rows": 5000,
        "most_in_flight": 32,
        "handed_over_per_second": 900.0,
        "cpu_ms": {"engine": 1.0},
    }
    return {"rate": rate, **whole, **more, **given}


def judged(rounds: dict[str, list[dict[str, Any]]]) -> Any:
    return compare._judged([named(name) for name in rounds], rounds, {})


def test_every_lane_has_its_events_in_the_order_of_their_numbers() -> None:
    lanes = [work.lane(number) for number in range(2 * work.LANES)]
    assert lanes[: work.LANES] == lanes[work.LANES :] == list(range(work.LANES))


def test_the_stub_tells_repeated_calls_from_calls_out_of_order() -> None:
    events = Events()
    for number in (
        7,
        8,
        7 + work.LANES,
        7 + 2 * work.LANES,
        7 + work.LANES,
        8 + 2 * work.LANES,
        8 + work.LANES,
    ):
        events.take(number)
    assert events.report() == {"calls": 7, "twice": 1, "late": 1, "lanes": 2, "lanes_out_of_order": 1}


def test_the_stub_finds_what_was_made_and_nothing_else() -> None:
    state = State()
    made = route(state, b"POST", b"/events/17", b"{}")
    assert made[0:2] == ("events", "event.post")
    assert route(state, b"GET", b"/events/17", b"")[2] == made[2]
    assert route(state, b"GET", b"/events/18", b"")[2].startswith(b"HTTP/1.1 404")
    assert state.events.calls == 1, "a look-up is no call"


def test_the_goal_is_the_median_of_the_rounds_beside_the_fastest_peer() -> None:
    rounds = {
        "tieout_sqlite": [turn(1500), turn(1600), turn(900)],
        "restate": [turn(500), turn(500), turn(450)],
        "celery": [turn(rate, cpu_ms={"engine": 2.5, "database": 0.5}) for rate in (400, 400, 700)],
    }
    found = judged(rounds)
    (goal,) = found.goals
    assert (goal.value, goal.met, found.void) == (3.0, True, "")
    assert found.figures["tieout_sqlite_ratios"] == {"restate": 3.0, "celery": 3.75}
    assert found.figures["tieout_sqlite_cpu_ratios"] == {"restate": 1.0, "celery": 3.0}


def test_a_peer_that_breaks_the_order_or_itself_is_reported_as_such() -> None:
    broken = {"rate": 0.0, "broken": "redis ended with 1"}
    found = judged(
        {
            "tieout_sqlite": [turn(1500)] * 3,
            "celery": [turn(400, out_of_order=3, lanes_out_of_order=2), broken, turn(410)],
        }
    )
    peer = found.figures["celery"]
    assert peer["kept_order"] is False
    assert peer["out_of_order"] == [3, 0]
    assert peer["broken"] == ["redis ended with 1"]
    assert found.void == "", "a peer's faults are not ours"


@pytest.mark.parametrize(
    "wrong",
    [
        turn(1500, twice=1),
        turn(1500, out_of_order=1),
        turn(1500, results=4999),
        turn(1500, audit_rows=4999),
        turn(1500, calls=5001),
        {"rate": 0.0, "broken": "ours ended with 1"},
    ],
    ids=["twice", "order", "result lost", "audit lost", "called more often", "broken"],
)
def test_a_promise_of_our_own_that_did_not_hold_voids_the_run(wrong: dict[str, Any]) -> None:
    found = judged({"tieout_sqlite": [turn(1500), wrong, turn(1500)], "celery": [turn(100)] * 3})
    assert found.void


def test_with_nothing_to_compare_with_the_goal_is_not_met() -> None:
    found = judged({"tieout_sqlite": [turn(1500)] * 3})
    assert found.void
    assert not found.goals[0].met


@pytest.mark.parametrize(
    ("events", "only"), [(5000, ["temporal"]), (100, []), (5001, [])], ids=["unknown", "few", "uneven"]
)
def test_wrong_usage_starts_nothing(events: int, only: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "Child", lambda *_: pytest.fail("a process was started"))
    assert compare.run(events=events, postgres="", json_output=True, only=only) == compare.USAGE


def test_what_needs_postgres_is_skipped_with_the_reason_when_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def began(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "Child", began)
    said: list[str] = []
    monkeypatch.setattr(compare, "print", lambda text, **_: said.append(text), raising=False)
    with pytest.raises(KeyboardInterrupt):
        compare._measure(5000, "", ["dbos", "procrastinate"])
    assert len(said) == 3
    assert all("needs PostgreSQL" in text for text in said)
