"""One simulated hub process: its lives on the shared store, its deaths, its stops."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tieout.app import App, Ports, compose, read_settings
from tieout.store.statements import StoreUnavailable
from tieout_lab.simulation.history import WatchedStore
from tieout_lab.simulation.loop import OWNER
from tieout_lab.simulation.ports import (
    Fate,
    Process,
    SeededChance,
    SeededIds,
    SimulatedStore,
    SimulatedTransport,
    VirtualClock,
)

if TYPE_CHECKING:
    from tieout_lab.simulation.world import SimulatedWorld


class Node:
    """A place where a hub process runs, dies and is started again."""

    def __init__(self, world: SimulatedWorld, number: int) -> None:
        self.world = world
        self.number = number
        self.clock = VirtualClock()
        self.process = Process()
        self.app: App | None = None
        self.begins_at = 0.0
        self._starting: list[asyncio.Task[Any]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}

    @property
    def alive(self) -> bool:
        """Whether it runs and works: neither dead, nor without its lease."""
        return self.app is not None and not self.process.dead.is_set() and not self.app.lease.lost

    @property
    def awake(self) -> bool:
        """Whether it would answer now."""
        return self.alive and not self.process.stopped

    async def start(self, fate: Fate) -> None:
        """Begin a life; it ends or stands still where `fate` says."""
        world = self.world
        world.lives += 1
        self.process = Process(
            fate, tape=world.tape, name=str(self.number), on_fate=lambda kind: world.troubles.update([kind])
        )
        store = WatchedStore(world.directory / "tieout.db", world.history)
        ports = Ports(
            clock=self.clock,
            ids=SeededIds(world.seed, world.lives),
            chance=SeededChance(world.seed, world.lives),
            transport=SimulatedTransport(
                world.by_port, self.process, world.seed, world.late_first_byte, world.history.leaves
            ),
            store=SimulatedStore(store, self.process, world.store_fault),
        )
        self._tasks = {}
        ours = copy_context()
        ours.run(OWNER.set, self._tasks)
        loop = asyncio.get_running_loop()
        settings = read_settings(world.file)
        composing = loop.create_task(
            compose(settings, ports, echo_suppression=world.echo_suppression, alone=len(world.nodes) == 1),
            context=ours,
        )
        self._starting = [composing]
        await self.or_death(composing)
        if not self.process.dead.is_set() and composing.exception() is None:
            self.app = composing.result()
            # Nobody gives commands or reads gauges here, and looking costs most of a quiet hour.
            self.app.hub.policy = replace(
                self.app.hub.policy,
                command_poll_real_seconds=60.0,
                claim_poll_real_seconds=20.0,
                permit_poll_real_seconds=30.0,
                stranger_poll_real_seconds=30.0,
                gauge_real_seconds=3600.0,
                seal_seconds=120,
                # Deaths are drawn here, whatever the process had in hand.
                most_crashes=1_000_000,
            )
            world.change(self.app)
            world.history.budgets = {
                name: budget.limits.in_flight for name, budget in self.app.hub.budgets.items()
            }
            self._starting.append(loop.create_task(self.app.start(), context=ours))
            await self.or_death(self._starting[-1])
        if self.process.dead.is_set() or await self._failed():
            await self.bury()
            if self.app is None:
                await store.close()

    async def _failed(self) -> bool:
        """Whether the database was away as the process started: then it ends, and is started again."""
        for task in self._starting:
            if task.done() and isinstance(task.exception(), StoreUnavailable):
                return True
            if task.done():
                task.result()
        return False

    async def or_death(self, task: asyncio.Task[Any]) -> None:
        """Wait for a task of this process, or for the end of the process."""
        dying = asyncio.ensure_future(self.process.dead.wait())
        try:
            await asyncio.wait({task, dying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()

    async def bury(self) -> None:
        """The process is dead: its tasks never run again, its store is closed as a crash leaves it."""
        self.process.dead.set()
        app, self.app = self.app, None
        running = [*self._starting, *self._tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._starting = []
        if app is not None:
            await app.hub.world.transport.close()
            await app.hub.store.close()
