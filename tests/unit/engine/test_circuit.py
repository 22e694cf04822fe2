"""When an operation is left alone, for how long, and who tries it first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tieout.engine.circuit import Circuits

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def _failed(circuits: Circuits, times: int, now: datetime = NOW, documents: int = 3) -> None:
    for number in range(times):
        circuits.answered("create", f"lane {number % documents}", now, failed=True)


def _seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def test_eight_failures_in_a_row_open_it_and_seven_do_not():
    circuits = Circuits()
    _failed(circuits, 7)
    assert circuits.opens_at("create", NOW) is None
    assert circuits.admit("create", NOW) is None
    _failed(circuits, 1)
    assert circuits.opens_at("create", NOW) == _seconds(5)
    assert circuits.admit("create", _seconds(4.999)) == _seconds(5)
    assert circuits.open() == ("create",)


def test_another_operation_is_not_left_alone():
    circuits = Circuits()
    _failed(circuits, 8)
    assert circuits.admit("read", NOW) is None


def test_a_success_in_between_begins_anew():
    circuits = Circuits()
    _failed(circuits, 7)
    circuits.answered("create", "lane 0", NOW, failed=False)
    _failed(circuits, 7)
    assert circuits.opens_at("create", NOW) is None


def test_two_documents_that_cannot_be_digested_open_nothing():
    circuits = Circuits()
    _failed(circuits, 100, documents=2)
    assert circuits.opens_at("create", NOW) is None
    circuits.answered("create", "a third", NOW, failed=True)
    assert circuits.opens_at("create", NOW) == _seconds(5)


def test_the_first_after_a_pause_is_the_probe_and_the_others_wait_for_it():
    circuits = Circuits()
    _failed(circuits, 8)
    assert circuits.admit("create", _seconds(5)) is None
    assert circuits.admit("create", _seconds(5)) == _seconds(10)
    circuits.answered("create", "lane 0", _seconds(6), failed=False)
    assert circuits.admit("create", _seconds(6)) is None
    assert circuits.open() == ()


def test_a_probe_that_fails_doubles_the_pause_up_to_a_minute():
    circuits = Circuits()
    _failed(circuits, 8)
    now, pauses = _seconds(5), []
    for _ in range(6):
        assert circuits.admit("create", now) is None
        circuits.answered("create", "lane 0", now, failed=True)
        until = circuits.opens_at("create", now)
        assert until is not None
        pauses.append((until - now).total_seconds())
        now = until
    assert pauses == [10, 20, 40, 60, 60, 60]


def test_calls_that_were_out_when_it_opened_do_not_put_off_the_probe():
    circuits = Circuits()
    _failed(circuits, 8)
    _failed(circuits, 5, _seconds(4))
    assert circuits.opens_at("create", _seconds(4)) == _seconds(5)


def test_a_probe_that_never_answers_is_followed_by_another():
    circuits = Circuits()
    _failed(circuits, 8)
    assert circuits.admit("create", _seconds(5)) is None
    assert circuits.admit("create", _seconds(10)) is None
