"""The hub's technical clock under the demo: it may run faster than the world, and shares its epoch with the twins."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class FastClock:
    """Technical time passes `factor` times as fast as real time, from `epoch` on; time-outs and leases stay real."""

    def __init__(self, factor: int, epoch: datetime) -> None:
        self.factor = factor
        self._epoch = epoch

    def now(self) -> datetime:
        """The technical moment."""
        return self._epoch + (datetime.now(UTC) - self._epoch) * self.factor

    def real_now_micros(self) -> int:
        """The real moment in microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Real seconds that never step back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait technical seconds."""
        await asyncio.sleep(seconds / self.factor)

    async def sleep_real(self, seconds: float) -> None:
        """Wait real seconds."""
        await asyncio.sleep(seconds)
