"""One clock for all processes: the database's.

Leases, horizons and due moments are written by one process and judged by another. By each one's own clock, a process
whose clock is fast by more than a lease takes the lanes of living workers, and holds an absence for proved too early.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from tieout.engine.hub import Hub
from tieout.ports import Clock, Store
from tieout.store import lanes

log = structlog.get_logger("tieout.clock")
_SECOND = 1_000_000
# Real microseconds by which the machine's clock may differ before somebody hears of it.
_SKEW_TOLD = _SECOND


class DatabaseClock:
    """The machine's clock, set by the database's at every `ask`. Between two of them the later of wall clock and
    monotonic clock counts: neither a wall clock that is set back nor a machine that slept makes a lease look longer."""

    def __init__(self, machine: Clock) -> None:
        self.factor = machine.factor
        # How far the database's clock is before the machine's, in real microseconds.
        self.ahead = 0
        self._machine = machine
        # Its moment when it was asked, and the monotonic clock's: real microseconds, both.
        self._asked: tuple[int, int] | None = None
        self._told = 0

    async def ask(self, store: Store) -> None:
        """Learn the database's time. What is known stays where the answer, which came from between question and
        arrival, does not contradict it: a slow answer sets nothing wrong. Raises StoreUnavailable."""
        before = self._machine.real_now_micros()
        ((theirs,),) = await store.fetch(lanes.CLOCK, {})
        after = self._machine.real_now_micros()
        self.ahead = max(min(self.ahead, theirs - before), theirs - after)
        self._asked = (after + self.ahead, int(self._machine.monotonic() * _SECOND))
        if abs(self.ahead - self._told) > _SKEW_TOLD:
            self._told = self.ahead
            log.warning("clock_skew", database_ahead_seconds=round(self.ahead / _SECOND, 3))

    def _ahead_now(self) -> int:
        if self._asked is None:
            return self.ahead
        then, monotonic = self._asked
        steady = then + int(self._machine.monotonic() * _SECOND) - monotonic
        return max(self.ahead, steady - self._machine.real_now_micros())

    def now(self) -> datetime:
        return self._machine.now() + timedelta(microseconds=self._ahead_now()) * self.factor

    def real_now_micros(self) -> int:
        return self._machine.real_now_micros() + self._ahead_now()

    def monotonic(self) -> float:
        return self._machine.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._machine.sleep(seconds)

    async def sleep_real(self, seconds: float) -> None:
        await self._machine.sleep_real(seconds)


async def set_by_database(hub: Hub) -> None:
    """Set this process's clock by the database's, where that has one of its own. Raises StoreUnavailable."""
    if isinstance(hub.clock, DatabaseClock):
        await hub.clock.ask(hub.store)
