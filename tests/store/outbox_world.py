"""A hub with receivers that answer as a test tells them, on a real database and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.store.facts import AnyStore
from tieout.engine.delivering import Courier, Delivering
from tieout.engine.hub import Hub, Policy
from tieout.engine.lease import Lease
from tieout.engine.metrics import Metrics
from tieout.engine.moments import micros
from tieout.engine.outbox import Event, Outbox, Taken, Verdict
from tieout.store import outbox

EPOCH = datetime(2026, 5, 1, 10, tzinfo=UTC)
TYPES = frozenset({"invoice.posted", "payment.applied", "exception.opened"})


class Clock:
    """Stands still until a test moves it."""

    factor = 1

    def __init__(self) -> None:
        self.moment = EPOCH

    def now(self) -> datetime:
        return self.moment

    def real_now_micros(self) -> int:
        return micros(self.moment)

    def monotonic(self) -> float:
        return (self.moment - EPOCH).total_seconds()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def sleep_real(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Chance:
    def jitter(self, name: str, ordinal: int) -> float:
        return 0.0

    def token(self, size: int) -> bytes:
        return b"\0" * size


class Ids:
    count = 0

    def new(self) -> str:
        Ids.count += 1
        return f"id-{Ids.count}"


class Ear:
    """A receiver that notes what it hears, and answers what `answers` says."""

    timeout_seconds = 5

    def __init__(self, name: str = "ear", at_once: int = 4, types: frozenset[str] = TYPES) -> None:
        self.name, self.at_once, self.types = name, at_once, types
        self.heard: list[str] = []
        self.now: list[str] = []
        self.most = 0
        self.answers: Callable[[Event], Verdict | Awaitable[Verdict]] = lambda _: Taken()

    async def deliver(self, event: Event) -> Verdict:
        self.heard.append(event.event_id)
        self.now.append(event.key)
        self.most = max(self.most, len(self.now))
        assert len(set(self.now)) == len(self.now), "two of one key at once"
        try:
            await asyncio.sleep(0)
            given = self.answers(event)
            return await given if isinstance(given, Awaitable) else given
        finally:
            self.now.remove(event.key)

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """One process of a hub that does nothing but tell."""

    def __init__(
        self,
        store: AnyStore,
        *ears: Ear,
        clock: Clock | None = None,
        worker: str = "worker-1",
        seconds: int = 3600,
    ) -> None:
        self.store = store
        self.clock = clock or Clock()
        self.configured = Outbox(
            receivers={ear.name: ear for ear in ears},
            types=frozenset().union(*(ear.types for ear in ears)),
            keep=timedelta(days=30),
            give_up=timedelta(days=4),
            detail=False,
        )
        nothing: Any = None
        self.hub = Hub(
            company="demo",
            store=store,
            clock=self.clock,
            ids=Ids(),
            chance=Chance(),
            world=nothing,
            keyring=nothing,
            connections={},
            budgets={},
            processes={},
            masterdata=nothing,
            policy=Policy(lease_seconds_real=seconds),
            metrics=Metrics(),
            outbox=self.configured,
        )
        self.lease = Lease(hub=self.hub, worker=worker)
        self.delivering = Delivering(self.hub, self.configured, self.lease)

    @property
    def courier(self) -> Courier:
        return self.delivering.couriers[0]

    async def begin(self) -> World:
        await self.lease.join("here", 1)
        await self.delivering.own()
        return self

    async def tell(self, event_id: str, key: str = "deal", type_: str = "invoice.posted") -> None:
        row = {"event_id": event_id, "type": type_, "subject": f"billing|invoice|{event_id}", "key": key}
        await self.store.commit([(outbox.ANNOUNCE, {**row, "at": self.hub.now(), "data": "{}"})])

    async def round(self, **later: float) -> None:
        """Time passes; then what is due is handed on and delivered, once."""
        self.clock.moment += timedelta(**later)
        if self.lease.until - self.hub.real_now() < 600_000_000:
            self.lease.until = self.hub.real_now() + 3_600_000_000
        await self.delivering.hand_on()
        for courier in self.delivering.couriers:
            await self.delivering.deliver(courier)
