"""What a worker believes that it runs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tieout.engine.housekeeping import Housekeeping
from tieout.engine.worker import Worker
from tieout.store import lanes


async def test_ended_run_does_not_take_the_next_one_of_its_lane_along() -> None:
    """Regression: a lane that was claimed again before its ended task was told of was taken for a stray one later, and
    run a second time under another fence."""
    worker = Worker(cast("Any", None), cast("Any", None))
    never = asyncio.Event()

    async def ended() -> None:
        pass

    async def running() -> None:
        await never.wait()

    old = asyncio.create_task(ended(), name="stripe-us|invoice|in_1")
    worker.running[old.get_name()] = old
    old.add_done_callback(worker._done)
    await asyncio.wait({old})
    new = asyncio.create_task(running(), name=old.get_name())
    worker.running[new.get_name()] = new
    worker._done(old)
    assert worker.running == {new.get_name(): new}
    never.set()
    await new
    worker._done(new)
    assert worker.running == {}


class Store:
    """One lane that is leased to us, and what was committed."""

    def __init__(self) -> None:
        self.commits: list[Any] = []

    async def fetch(self, statement: Any, given: Any) -> list[Any]:
        del statement, given
        return [("stripe-us|invoice|in_1", 7, 0, "")]

    async def commit(self, steps: Any) -> list[Any]:
        self.commits.append(steps)
        return [[]]


async def test_claim_that_is_just_coming_back_is_no_stray_lane() -> None:
    """Regression: two looks in one moment (the reaper's and the examiner's) took a fresh claim for a lost one."""
    moments = iter((0, 1_000, 3_000_000))
    store = Store()
    hub = SimpleNamespace(store=store, outbox=None, real_now=lambda: next(moments), now=lambda: 0)
    worker = SimpleNamespace(running={})
    lease = SimpleNamespace(worker="us")
    housekeeping = Housekeeping(cast("Any", hub), cast("Any", lease), cast("Any", worker), cast("Any", None))
    await housekeeping._strays()
    await housekeeping._strays()
    assert store.commits == []
    await housekeeping._strays()
    ((back,),) = store.commits
    assert back[0] is lanes.AGAIN
