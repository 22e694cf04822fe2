"""A command is asked for and its answer waited for: a worker's, or that nobody has executed it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.store.facts import AnyStore
from tests.store.outbox_world import Clock, World
from tieout.engine.asking import SINGLE_OPERATOR, ask_and_wait, worker_alive
from tieout.engine.commands import execute_waiting
from tieout.store import people


class Waiting(Clock):
    """A clock on which nobody waits in vain: sleeping moves it, and lets somebody do something meanwhile."""

    slept = 0.0

    def __init__(self, meanwhile: Callable[[], Awaitable[Any]] | None = None) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.slept

    async def sleep_real(self, seconds: float) -> None:
        self.slept += seconds
        if self.meanwhile is not None:
            await self.meanwhile()


async def test_no_worker_executes_it_and_whoever_asked_is_told_what_to_do(store: AnyStore):
    clock = Waiting()
    answer = await ask_and_wait(World(store, clock=clock).hub, "retry", {"lane": "x"}, "operator", 3)
    assert (answer.state, answer.refused, answer.mode) == ("waiting", True, SINGLE_OPERATOR)
    assert "tieout events" in answer.result["error"]
    assert 3 <= clock.slept < 3.2
    # It is not lost: the next worker executes it.
    ((state, _),) = await store.fetch(people.COMMAND_RESULT, {"command_id": answer.command_id})
    assert state == "waiting"


async def test_patience_is_a_minute_and_a_half(store: AnyStore):
    clock = Waiting()
    await ask_and_wait(World(store, clock=clock).hub, "retry", {}, "operator")
    assert 90 <= clock.slept < 90.2


async def test_the_answer_of_the_worker_that_executed_it(store: AnyStore):
    worker = World(store).hub
    clock = Waiting(lambda: execute_waiting(worker))
    answer = await ask_and_wait(World(store, clock=clock).hub, "no such command", {}, "operator")
    assert (answer.state, answer.refused) == ("failed", True)
    assert "no such command" in answer.result["error"]
    assert clock.slept < 0.2


async def test_whether_a_worker_lives(store: AnyStore):
    world = World(store)
    assert not await worker_alive(world.hub)
    await world.lease.join("here", 1)
    assert await worker_alive(world.hub)
