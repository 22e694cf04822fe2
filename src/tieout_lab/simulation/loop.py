"""An event loop whose time is virtual: when nothing is ready, time jumps to the next timer. No sockets, no threads.

Port operations that are ready at one virtual moment pass a gate, one after the other, in an order that depends on their
names alone: so a seed gives one order on every version of Python, however many turns its loop takes in between.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
# Whose tasks are made here: a simulated process's, so that they can be ended with it; None: the world's.
OWNER: ContextVar[dict[asyncio.Task[Any], None] | None] = ContextVar("owner", default=None)


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: the simulated world has come to a stop."""


class Gate:
    """Where port operations of one virtual moment stand until nothing else is ready; the least name goes first.
    Operations of one `group` that stand there together go together (a group commit)."""

    def __init__(self) -> None:
        self._standing: list[tuple[tuple[object, ...], int, str, asyncio.Future[None]]] = []
        self._count = 0

    async def passed(self, name: tuple[object, ...], group: str = "") -> None:
        """Stand in line under a name until let through."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._standing, (name, self._count, group, future))
        await future

    def open(self) -> bool:
        """Let the next through; False when nobody stands there."""
        while self._standing:
            _, _, group, future = heapq.heappop(self._standing)
            if future.done():
                continue
            future.set_result(None)
            if group:
                together = sorted(one for one in self._standing if one[2] == group)
                self._standing = [one for one in self._standing if one[2] != group]
                heapq.heapify(self._standing)
                for *_, other in together:
                    if not other.done():
                        other.set_result(None)
            return True
        return False


class _NoWaiting(selectors.DefaultSelector):
    """A selector that never waits: it moves the loop's time forward instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 or self.loop.gate.open():
            return []
        if timeout is None:
            ready = super().select(0)
            if not ready:
                raise Stuck("nothing is ready and no timer is set")
            return ready
        self.loop.moment += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on virtual seconds: callbacks run first in, first out, so one seed gives one order."""

    def __init__(self) -> None:
        selector = _NoWaiting()
        selector.loop = self
        self.moment = 0.0
        self.gate = Gate()
        super().__init__(selector)

    def time(self) -> float:
        return self.moment

    def create_task(self, coro: Any, **given: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **given)
        # The context that the task will run in: a call at a vendor is not ended with the process that made it.
        context = given.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner[task] = None
            task.add_done_callback(lambda done: _forget(owner, done))
        return task


def _forget(owner: dict[asyncio.Task[Any], None], done: asyncio.Task[Any]) -> None:
    owner.pop(done, None)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual loop; what is still running then is cancelled."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
