"""Budgets: how many calls of one connection are out at once, over every run of this process.

Others use the same account, so a 429 halves the budget at once, here and (engine/permits.py) for every worker. Calls
that settle a doubt go first, on a tenth of the permits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from datetime import datetime
from typing import Protocol

from tieout.connectors.contract import Limits
from tieout.engine.circuit import Circuits
from tieout.ports import Clock, Request, Response, Stream, Transport, TransportError

# How long a permit that was taken ahead may wait for its call, in real seconds.
_UNUSED_SECONDS = 1.0


def _looks_up(operation: str) -> bool:
    """Whether a call settles a doubt: connectors call these `find.<what>` or `<what>.find`."""
    return operation.startswith("find") or operation.endswith(".find")


class Budget:
    """This process's permits of one connection: all of them, until the workers share them (`resize`).

    `deck` admits a few more creates than there are permits: they commit SENT while they wait, so that the permits are
    never idle for want of a commit, and a kill leaves no more than these in doubt. `refusals` counts the vendor's 429s
    since whoever shares the budget looked last."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.present = limits.in_flight
        self.deck = asyncio.Semaphore(limits.in_flight + max(4, limits.in_flight // 2))
        self.circuits = Circuits()
        self.out = 0
        self.most_out = 0
        self.refusals = 0
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._first: deque[asyncio.Future[None]] = deque()
        self._urgent_out = 0
        self._refused_at = 0.0
        self._pause_seconds = 1 / limits.per_second if limits.per_second else 0
        self._next_call = 0.0

    def now(self) -> datetime:
        """The technical moment."""
        return self._clock.now()

    async def sleep_real(self, seconds: float) -> None:
        """Wait real seconds."""
        await self._clock.sleep_real(seconds)

    @property
    def busy(self) -> bool:
        """Whether a call would have to wait for its permit."""
        return self.out >= self.present or bool(self._waiting)

    def resize(self, permits: int, share: int = 1) -> None:
        """From now on so many permits are this process's, one of `share` that keep the connection's pace together.
        What is out above it is not called back; it only is not followed."""
        self.present = permits
        if self.limits.per_second:
            self._pause_seconds = share / self.limits.per_second
        self._hand_out()

    async def take(self, *, urgent: bool = False) -> None:
        """Wait for a permit, and for the connection's pace where it has one (calls a second)."""
        if self._pause_seconds:
            now = self._clock.monotonic()
            self._next_call = max(now, self._next_call) + self._pause_seconds
            if self._next_call - self._pause_seconds > now:
                await self._clock.sleep_real(self._next_call - self._pause_seconds - now)
        if self.out < self.present and not self._first and not self._waiting:
            self._count(urgent=urgent)
        else:
            queue = self._first if urgent else self._waiting
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.give(urgent=urgent)
                raise
        self.most_out = max(self.most_out, self.out)

    def give(self, *, urgent: bool = False) -> None:
        """Return a permit; the next in line gets it."""
        self.out -= 1
        self._urgent_out -= urgent
        self._hand_out()

    def _count(self, *, urgent: bool) -> None:
        self.out += 1
        self._urgent_out += urgent

    def _hand_out(self) -> None:
        while self.out < self.present:
            # Doubts first, but on no more than a tenth: the rest of the work must go on. What work leaves is lent.
            first = bool(self._first) and (self._urgent_out < max(1, self.present // 10) or not self._waiting)
            queue = self._first if first else self._waiting
            if not queue:
                return
            future = queue.popleft()
            if not future.done():
                self._count(urgent=first)
                future.set_result(None)

    def refused(self) -> None:
        """The vendor said 429: halve at once, once per second of such answers."""
        self.refusals += 1
        now = self._clock.monotonic()
        if now - self._refused_at >= 1:
            self._refused_at = now
            self.present = max(min(1, self.present), self.present // 2)


class Permit:
    """A permit taken ahead of the call that will use it: the first call made inside goes out on it, and what was not
    used is given back. Soon, if need be: whoever holds a lock that this call waits for (a sign-in, a table of codes)
    may be in line for this very permit."""

    def __init__(self, budget: Budget, *, urgent: bool = False) -> None:
        self.budget = budget
        self.urgent = urgent
        self.used = False

    async def __aenter__(self) -> None:
        await self.budget.take(urgent=self.urgent)
        self._token = _in_hand.set(self)
        self._lending = asyncio.ensure_future(self._lend())

    async def __aexit__(self, *_: object) -> None:
        _in_hand.reset(self._token)
        self._lending.cancel()
        self._give_unused()

    async def _lend(self) -> None:
        await self.budget.sleep_real(_UNUSED_SECONDS)
        self._give_unused()

    def _give_unused(self) -> None:
        if not self.used:
            self.used = True
            self.budget.give(urgent=self.urgent)


_in_hand: ContextVar[Permit | None] = ContextVar("_in_hand", default=None)


class MaySend(Protocol):
    """Whether this process may still send what takes at most so many real seconds."""

    def __call__(self, seconds: float, /) -> bool: ...


class BudgetedTransport:
    """A transport that takes a permit of the request's connection around each call, and leaves alone what fails."""

    def __init__(self, inner: Transport, budgets: dict[str, Budget]) -> None:
        self._inner = inner
        self._budgets = budgets
        # Whether this process may still send what takes so many real seconds at most; a worker's lease answers.
        self.may_send: MaySend = lambda _seconds: True

    async def exchange(self, request: Request) -> Response:
        budget = self._budgets.get(request.connection)
        if budget is None:
            return await self._inner.exchange(request)
        urgent = _looks_up(request.operation)
        permit = _in_hand.get()
        if permit is not None and permit.budget is budget and not permit.used:
            permit.used, urgent = True, permit.urgent
        else:
            await budget.take(urgent=urgent)
        try:
            return await self._permitted(request, budget)
        finally:
            budget.give(urgent=urgent)

    async def _permitted(self, request: Request, budget: Budget) -> Response:
        # Asked after the wait for the permit, immediately before the first byte: the lane could be somebody else's.
        if not self.may_send(request.timeout_seconds):
            raise TransportError("the lease does not outlive the call", sent=False)
        operation, now = request.operation, budget.now()
        until = budget.circuits.admit(operation, now)
        if until is not None:
            reason = (
                f"{request.connection} failed at {operation} again and again; tried again at {until:%H:%M:%S}"
            )
            raise TransportError(reason, sent=False)
        try:
            response = await self._inner.exchange(request)
        except TransportError:
            budget.circuits.answered(operation, request.lane, budget.now(), failed=True)
            raise
        failed = response.status >= 500
        budget.circuits.answered(operation, request.lane, budget.now(), failed=failed)
        if response.status == 429:
            budget.refused()
        return response

    async def open(self, request: Request) -> Stream:
        """A kept stream takes no permit: it would hold it for days."""
        return await self._inner.open(request)

    async def close(self) -> None:
        await self._inner.close()
