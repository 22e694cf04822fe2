"""The machine's clock, set by the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tieout.engine.clock import DatabaseClock

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000


class Machine:
    """A wall clock and a monotonic one, both by hand."""

    def __init__(self, wall: int = NOW, factor: int = 1) -> None:
        self.wall, self.steady, self.factor = wall, 1000.0, factor

    def pass_(self, micros: int) -> None:
        self.wall += micros
        self.steady += micros / 1e6

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall / 1e6, UTC)

    def real_now_micros(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


class Server:
    """A database `ahead` of the machine, whose answers take their time on the way there and back."""

    def __init__(self, machine: Machine, ahead: int, there: int = 0, back: int = 0) -> None:
        self.machine, self.ahead, self.there, self.back = machine, ahead, there, back

    async def fetch(self, *_: Any) -> list[tuple[int]]:
        self.machine.pass_(self.there)
        theirs = self.machine.wall + self.ahead
        self.machine.pass_(self.back)
        return [(theirs,)]


def clock_of(machine: Machine) -> DatabaseClock:
    return DatabaseClock(machine)  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [10 * MINUTE, -10 * MINUTE])
async def test_it_shows_the_databases_time(ahead: int) -> None:
    machine = Machine()
    clock = clock_of(machine)
    await clock.ask(Server(machine, ahead))  # type: ignore[arg-type]
    machine.pass_(MINUTE)
    assert clock.real_now_micros() == NOW + MINUTE + ahead
    assert clock.now() == machine.now() + timedelta(microseconds=ahead)


@pytest.mark.parametrize(("there", "back"), [(3, 0), (0, 3), (2, 2)])
async def test_a_slow_answer_sets_nothing_wrong(there: int, back: int) -> None:
    machine = Machine()
    clock = clock_of(machine)
    await clock.ask(Server(machine, 0, there * MINUTE, back * MINUTE))  # type: ignore[arg-type]
    assert clock.ahead == 0
    # Nor does it unlearn what is known.
    await clock.ask(Server(machine, 7 * MINUTE))  # type: ignore[arg-type]
    await clock.ask(Server(machine, 7 * MINUTE, there * MINUTE, back * MINUTE))  # type: ignore[arg-type]
    assert clock.ahead == 7 * MINUTE


async def test_neither_a_wall_clock_set_back_nor_a_sleep_makes_a_lease_longer() -> None:
    machine = Machine()
    clock = clock_of(machine)
    await clock.ask(Server(machine, 0))  # type: ignore[arg-type]
    machine.pass_(MINUTE)
    machine.wall -= 30 * MINUTE
    assert clock.real_now_micros() == NOW + MINUTE
    machine.wall += 90 * MINUTE  # the monotonic clock of a machine that sleeps stands still
    assert clock.real_now_micros() == NOW + 61 * MINUTE


async def test_technical_time_is_set_by_its_own_factor() -> None:
    machine = Machine(factor=60)
    clock = clock_of(machine)
    await clock.ask(Server(machine, MINUTE))  # type: ignore[arg-type]
    assert clock.now() - machine.now() == timedelta(hours=1)
