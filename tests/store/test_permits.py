"""The budget of a connection over several workers: never more than all of it together, whatever comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.store.facts import LATER, NOW, AnyStore, join, lane, one, send_new
from tieout.connectors.contract import Limits
from tieout.engine.budget import Budget
from tieout.engine.groups import Groups
from tieout.engine.permits import Permits
from tieout.store import lanes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    factor = 1

    def __init__(self) -> None:
        self.micros = NOW

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.micros)

    def monotonic(self) -> float:
        return self.micros / 1_000_000


class Process:
    """What one worker process has of the engine that sharing needs."""

    def __init__(self, store: AnyStore, clock: Clock, worker: str, limits: Limits) -> None:
        self.clock, self.store, self.worker = clock, store, worker
        self.budget = Budget(limits, clock)  # type: ignore[arg-type]
        hub: Any = SimpleNamespace(
            store=store,
            clock=clock,
            budgets={"erp": self.budget},
            groups=Groups(),
            connection=lambda _: SimpleNamespace(api=None),
            now=lambda: clock.micros,
            real_now=lambda: clock.micros,
        )
        self.permits = Permits(hub, SimpleNamespace(worker=worker))  # type: ignore[arg-type]

    async def begin(self, *, alone: bool = False) -> None:
        await join(self.store, self.worker)
        await self.permits.join(alone=alone)


@pytest.fixture
def start(open_another: Callable[[], AnyStore]) -> Callable[..., Process]:
    clock = Clock()

    def make(worker: str, in_flight: int = 15, per_second: int = 0) -> Process:
        limits = Limits(in_flight=in_flight, per_second=per_second)
        return Process(open_another(), clock, worker, limits)

    return make


async def settle(*processes: Process, rounds: int = 4) -> list[int]:
    """Everybody looks a few times, and at no moment do they have more than the budget together."""
    most = processes[0].budget.limits.in_flight
    for _ in range(rounds):
        for process in processes:
            await process.permits.share()
            assert sum(one.budget.present for one in processes) <= most
    return [process.budget.present for process in processes]


async def test_one_worker_has_all_and_newcomers_get_their_part_when_it_is_given(start: Any) -> None:
    first, second, third = start("a"), start("b"), start("c")
    await first.begin()
    assert first.budget.present == 15
    await second.begin()
    assert second.budget.present == 0, "all of it is the first one's still"
    assert sorted(await settle(first, second)) == [7, 8]
    await third.begin()
    assert await settle(first, second, third) == [5, 5, 5]


async def test_what_is_out_is_not_given_away(start: Any) -> None:
    first, second = start("a", 4), start("b", 4)
    await first.begin()
    for _ in range(4):
        await first.budget.take()
    await second.begin()
    assert await settle(first, second) == [2, 0], "four calls of the first are out"
    first.budget.give()
    first.budget.give()
    assert await settle(first, second) == [2, 2]


async def test_one_of_the_living_asks_what_one_alone_should_ask(start: Any) -> None:
    first, second = start("a"), start("b")
    await first.begin()
    await second.begin()
    await settle(first, second)
    assert [one.permits.first("erp") for one in (first, second)] == [True, False]
    assert [one.permits.leads for one in (first, second)] == [True, False]
    first.clock.micros = LATER + 1  # the lease of both is over; "b" has joined anew
    await second.store.commit([(lanes.LEAVE, {"worker": "b"})])
    await join(second.store, "b", until=LATER * 2)
    await second.permits.share()
    assert second.permits.first("erp")
    assert second.permits.leads


async def test_a_dead_workers_slice_is_free_when_its_lease_ends(start: Any) -> None:
    first, second = start("a", 10), start("b", 10)
    await first.begin()
    await second.begin()
    await settle(first, second)
    first.clock.micros = LATER - 1  # "a" was killed long ago; nobody can know
    await second.permits.share()
    assert second.budget.present == 5
    first.clock.micros = LATER + 1
    await second.store.commit([(lanes.LEAVE, {"worker": "b"})])
    await join(second.store, "b", until=2 * LATER)
    await second.permits.share()
    assert second.budget.present == 10


async def test_alone_on_its_file_it_waits_only_for_the_calls_that_were_out(start: Any) -> None:
    before, now = start("a", 10), start("b", 10)
    await before.begin()
    await lane(before.store, "lane")
    for number in range(3):
        await before.store.commit([send_new(f"k{number}")])
    await before.store.commit([(lanes.OTHERS_ARE_GONE, {"worker": "nobody", "real_now": NOW})])
    now.permits.hub.connection = lambda _: SimpleNamespace(api=_Writes())
    await now.begin(alone=True)
    assert now.budget.present == 7, "three writes had left a moment ago"
    now.clock.micros += 31_000_000
    await now.permits.share()
    assert now.budget.present == 10


class _Writes:
    """A Writer as far as its data goes."""

    def __init__(self) -> None:
        self.operations = {"invoice.create": SimpleNamespace(timeout_seconds=30)}

    async def send(self, *_: Any) -> None: ...
    async def find(self, *_: Any) -> None: ...


async def test_fewer_permits_than_workers_go_round(start: Any) -> None:
    workers = [start(name, 1) for name in "abc"]
    for worker in workers:
        await worker.begin()
    had = set()
    for turn in range(6):
        workers[0].clock.micros = NOW + turn * 10_000_000
        shares = await settle(*workers)
        assert sum(shares) == 1
        had.add(shares.index(1))
    assert had == {0, 1, 2}


async def test_a_refusal_halves_the_budget_for_all_and_it_comes_back_by_one_every_ten_seconds(
    start: Any,
) -> None:
    first, second = start("a", 12), start("b", 12)
    await first.begin()
    await second.begin()
    assert await settle(first, second) == [6, 6]
    first.budget.refused()
    assert first.budget.present == 3, "at once where it was heard"
    assert await settle(first, second) == [3, 3], "and then by everybody"
    shares = []
    for seconds in (10, 9, 1, 21, 60):
        first.clock.micros += seconds * 1_000_000
        shares.append(sum(await settle(first, second)))
    assert shares == [7, 7, 8, 10, 12]
    assert await one(first.store, "SELECT shrunk_at FROM budgets") == 0


async def test_the_pace_is_shared_too(start: Any) -> None:
    first, second = start("a", 100, per_second=10), start("b", 100, per_second=10)
    await first.begin()
    await second.begin()
    await settle(first, second)
    began = first.clock.monotonic()

    async def sleep_real(seconds: float) -> None:
        first.clock.micros += round(seconds * 1_000_000)

    first.clock.sleep_real = sleep_real
    for _ in range(11):
        await first.budget.take()
        first.budget.give()
    assert first.clock.monotonic() - began >= 1.99, "ten a second for two: each has five"


async def test_a_larger_configured_budget_is_taken_up(start: Any) -> None:
    small = start("a", 4)
    await small.begin()
    await small.store.commit([(lanes.LEAVE, {"worker": "a"})])
    large = start("b", 9)
    await large.begin()
    assert large.budget.present == 9


async def test_a_newcomer_gets_its_part_of_a_budget_that_is_shrunk(start: Any) -> None:
    """Three workers are at work (calls out) when a 429 halves the budget, and a fourth joins."""
    workers = [start(name, 10) for name in "abc"]
    for worker in workers:
        await worker.begin()
    assert sorted(await settle(*workers)) == [3, 3, 4]
    for worker in workers:
        await worker.budget.take()
    workers[0].budget.refused()
    await settle(*workers)
    fourth = start("d", 10)
    await fourth.begin()
    for worker in workers:
        worker.budget.give()
        await worker.budget.take()
    assert sorted(await settle(*workers, fourth)) == [1, 1, 1, 2]


async def test_an_idle_worker_gives_back_what_is_above_its_part_and_no_more(start: Any) -> None:
    first, second = start("a", 10), start("b", 10)
    await first.begin()
    await second.begin()
    await settle(first, second)
    first.budget.refused()
    assert sum(await settle(first, second)) == 5
    assert min(await settle(first, second)) >= 2
