"""Budgets: how many calls of one connection are out at once, over every run of this process.

Others use the same account, so a 429 halves the budget for all and it recovers by one a minute; it never exceeds what
was configured. Calls that settle a doubt go first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime, timedelta
from typing import Protocol

from tieout.connectors.contract import Limits
from tieout.ports import Clock, Request, Response, Stream, Transport, TransportError

_RECOVERY = timedelta(seconds=60)


class Budget:
    """Permits of one connection. `deck` admits a few more creates than there are permits: they commit SENT while they
    wait, so that the permits are never idle for want of a commit, and a kill leaves no more than these in doubt."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.allowed = limits.in_flight
        self.present = limits.in_flight
        self.deck = asyncio.Semaphore(limits.in_flight + max(4, limits.in_flight // 2))
        self.out = 0
        self.most_out = 0
        self.limited = 0
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._first: deque[asyncio.Future[None]] = deque()
        self._shrunk_at: datetime | None = None
        self._pause_seconds = 1 / limits.per_second if limits.per_second else 0
        self._next_call = 0.0

    async def take(self, *, urgent: bool = False) -> None:
        """Wait for a permit, and for the connection's pace where it has one (calls a second)."""
        if self._pause_seconds:
            now = self._clock.monotonic()
            self._next_call = max(now, self._next_call) + self._pause_seconds
            if self._next_call - self._pause_seconds > now:
                await self._clock.sleep_real(self._next_call - self._pause_seconds - now)
        if self.out < self.present and not self._first and not self._waiting:
            self.out += 1
        else:
            queue = self._first if urgent else self._waiting
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.give()
                raise
        self.most_out = max(self.most_out, self.out)

    def give(self) -> None:
        """Return a permit; the next in line gets it."""
        self.out -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self.out < self.present:
            queue = self._first or self._waiting
            if not queue:
                return
            future = queue.popleft()
            if not future.done():
                self.out += 1
                future.set_result(None)

    def refused(self) -> None:
        """The vendor said 429: halve, once per second of such answers."""
        now = self._clock.now()
        self.limited += 1
        if self._shrunk_at is None or now - self._shrunk_at >= timedelta(seconds=1):
            self.present = max(1, self.present // 2)
            self._shrunk_at = now

    def recover(self) -> None:
        """One more permit a minute after the last refusal, up to what is configured."""
        shrunk_at = self._shrunk_at
        if self.present >= self.allowed or shrunk_at is None or self._clock.now() - shrunk_at < _RECOVERY:
            return
        self.present += 1
        self._shrunk_at = self._clock.now()
        self._hand_out()


class MaySend(Protocol):
    """Whether this process may still send what takes at most so many real seconds."""

    def __call__(self, seconds: float, /) -> bool: ...


class BudgetedTransport:
    """A transport that takes a permit of the request's connection around each call."""

    def __init__(self, inner: Transport, budgets: dict[str, Budget]) -> None:
        self._inner = inner
        self._budgets = budgets
        # Whether this process may still send what takes so many real seconds at most; a worker's lease answers.
        self.may_send: MaySend = lambda _seconds: True

    async def exchange(self, request: Request) -> Response:
        budget = self._budgets.get(request.connection)
        if budget is None:
            return await self._inner.exchange(request)
        await budget.take(urgent=request.operation.startswith("find"))
        try:
            # Asked after the wait for the permit, immediately before the first byte: the lane could be somebody else's.
            if not self.may_send(request.timeout_seconds):
                raise TransportError("the lease does not outlive the call", sent=False)
            response = await self._inner.exchange(request)
        finally:
            budget.give()
        if response.status == 429:
            budget.refused()
        elif budget.present < budget.allowed:
            budget.recover()
        return response

    async def open(self, request: Request) -> Stream:
        """A kept stream takes no permit: it would hold it for days."""
        return await self._inner.open(request)

    async def close(self) -> None:
        await self._inner.close()
