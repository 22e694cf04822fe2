"""A twin's two clocks: business time dates documents, technical time runs tokens, delays and signatures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class TwinClock(Protocol):
    """The twin's two clocks. Both answer aware UTC datetimes; `sleep` waits technical seconds."""

    def business(self) -> datetime: ...
    def technical(self) -> datetime: ...
    def set_business(self, moment: datetime) -> None: ...
    async def sleep(self, technical_seconds: float) -> None: ...


class SystemTwinClock:
    """Technical time runs `factor` times as fast as real time from `epoch`; business time stands until moved."""

    def __init__(
        self, *, factor: float = 1.0, business: datetime | None = None, epoch: datetime | None = None
    ) -> None:
        self._factor = factor
        self._epoch = epoch or datetime.now(UTC)
        self._business = business

    def business(self) -> datetime:
        return self._business or self.technical()

    def technical(self) -> datetime:
        return self._epoch + (datetime.now(UTC) - self._epoch) * self._factor

    def set_business(self, moment: datetime) -> None:
        self._business = moment

    async def sleep(self, technical_seconds: float) -> None:
        await asyncio.sleep(technical_seconds / self._factor)
