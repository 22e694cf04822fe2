"""How the living workers share each connection's budget: every worker holds a slice, and together never more than all.

A slice is checked in memory; the table is asked every few seconds. A worker that dies keeps its slice until its lease
ends, and by then its calls have ended: none is sent that the lease would not outlive. Shrinking is done in memory first
and written down only when no call is out above it; growing is written down first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog

from tieout.connectors.contract import Writer
from tieout.engine.budget import Budget
from tieout.engine.groups import runs
from tieout.engine.hub import Hub
from tieout.engine.lease import Lease
from tieout.store import lanes, permits
from tieout.store.statements import Refused

log = structlog.get_logger("tieout.permits")
_SECOND = 1_000_000
# One more permit every ten seconds after the last refusal: a stray 429 at the month's start costs 15 calls at once one
# minute of half speed. At one a minute it cost eight, and every further 429 began them anew.
_RECOVERY_MICROS = 10 * _SECOND
# With fewer permits than workers each has one for so long, in turn.
_TURN_MICROS = 10 * _SECOND


class Permits:
    """This worker's slices of all budgets."""

    def __init__(self, hub: Hub, lease: Lease) -> None:
        self.hub = hub
        self.lease = lease
        self._held: dict[str, int] = {}
        self._allowed: dict[str, int] = {}
        # Since when a budget is shrunk as far as it is now.
        self._shrunk_at: dict[str, int] = {}
        # Calls of a process that is gone, by the real moment until which the vendor may still count them.
        self._left_out: dict[str, list[int]] = {}
        # Whether this worker is the first of the living, and the connections whose lanes it is the first to run.
        self.leads = False
        self._first: frozenset[str] = frozenset()

    def first(self, name: str) -> bool:
        """Whether this worker is the one that asks a connection what one alone should ask. Now and then nobody is, or
        two are, for as long as it takes to look who lives."""
        return name in self._first

    async def join(self, *, alone: bool) -> None:
        """Take the first slices. `alone`: no other process can be alive (it would hold the database file), so that what
        others held is free at once, but for the calls that the vendor may still be working on."""
        for budget in self.hub.budgets.values():
            budget.resize(0)
        if alone:
            gone = {"worker": self.lease.worker, "real_now": self.hub.real_now()}
            await self.hub.store.commit([(lanes.OTHERS_ARE_GONE, gone)])
            await self._see_left_out()
        await self.share()

    async def _see_left_out(self) -> None:
        longest = max((_timeout(self.hub, name, "") for name in self.hub.budgets), default=0)
        since = self.hub.now() - longest * self.hub.clock.factor * _SECOND
        asked = {"worker": self.lease.worker, "since": since}
        for name, operation in await self.hub.store.fetch(permits.LEFT_OUT, asked):
            if name in self.hub.budgets:
                until = self.hub.real_now() + _timeout(self.hub, name, operation) * _SECOND
                self._left_out.setdefault(name, []).append(until)

    async def share(self) -> None:
        """Look who else is there, tell of refusals, recover, and take the fair part of every budget."""
        real_now = self.hub.real_now()
        others: dict[str, int] = defaultdict(int)
        for name, worker, held in await self.hub.store.fetch(permits.SLICES, {"real_now": real_now}):
            others[name] += held if worker != self.lease.worker else 0
        alive = await self.hub.store.fetch(lanes.ALIVE, {"real_now": real_now})
        serves = {row[0]: row[4] for row in alive}
        workers = sorted({self.lease.worker, *serves})
        await self._adapt()
        first = set()
        for name, budget in self.hub.budgets.items():
            allowed = self._allowed[name]
            group = self.hub.groups.connections.get(name, "")
            near = [one for one in workers if not group or runs(serves.get(one, "*"), group)]
            if near and near[0] == self.lease.worker:
                first.add(name)
            fair = _fair(allowed, workers, self.lease.worker, real_now, near)
            held = self._held.get(name, 0)
            # Less at once; more as far as the others have left room.
            room = max(held, min(fair, allowed - others[name]))
            await self._hold(name, budget, fair if fair <= held else room)
            left_out = sum(until > real_now for until in self._left_out.get(name, ()))
            budget.resize(max(min(fair, self._held.get(name, 0)) - left_out, 0), len(workers))
        self.leads, self._first = workers[0] == self.lease.worker, frozenset(first)

    async def _adapt(self) -> None:
        """What each connection takes at present, over all workers: halved by a refusal, ten seconds give one back."""
        now = self.hub.now()
        for name, budget in self.hub.budgets.items():
            most = budget.limits.in_flight
            if budget.refusals:
                log.warning("vendor_limit", connection=name, refusals=budget.refusals)
                budget.refusals = 0
                shrink = {"connection": name, "now": now, "before": now - _SECOND}
                lock = {"connection": name, "most": most}
                await self.hub.store.commit([(permits.LOCK, lock), (permits.SHRINK, shrink)])
            elif (
                self._allowed.get(name, most) < most
                and self._shrunk_at.get(name, 0) <= now - _RECOVERY_MICROS
            ):
                more = {"connection": name, "most": most, "now": now, "step": _RECOVERY_MICROS}
                await self.hub.store.commit([(permits.RECOVER, more)])
        known = {name: (allowed, at) for name, allowed, at in await self.hub.store.fetch(permits.SHRUNK, {})}
        for name, budget in self.hub.budgets.items():
            allowed, self._shrunk_at[name] = known.get(name, (budget.limits.in_flight, 0))
            self._allowed[name] = min(allowed, budget.limits.in_flight)

    async def _hold(self, name: str, budget: Budget, wanted: int) -> None:
        """Make `wanted` permits ours in the table; less only when no call is out above it."""
        held = self._held.get(name, 0)
        names = {"connection": name, "worker": self.lease.worker, "held": wanted}
        if wanted < held:
            budget.resize(wanted)
            if budget.out <= wanted:
                await self.hub.store.commit([(permits.GIVE_BACK, names)])
                self._held[name] = wanted
        elif wanted > held:
            lock = (permits.LOCK, {"connection": name, "most": budget.limits.in_flight})
            take = {**names, "real_now": self.hub.real_now()}
            try:
                await self.hub.store.commit([lock, (permits.TAKE, take)])
            except Refused:
                return  # somebody was quicker: next time
            self._held[name] = wanted


def _fair(allowed: int, workers: Sequence[str], me: str, real_now: int, near: Sequence[str]) -> int:
    """The part of one worker; fewer permits than workers go round in turns. Where only some (`near`) run the lanes of
    the connection, the others, who seldom call there, have one each."""
    rank, many = workers.index(me), len(workers)
    if allowed >= many:
        if near and me not in near:
            return 1
        if near:
            allowed, many, rank = allowed - many + len(near), len(near), near.index(me)
        return allowed // many + (rank < allowed % many)
    return int((rank + real_now // _TURN_MICROS) % many < allowed)


def _timeout(hub: Hub, name: str, operation: str) -> int:
    """How long a call lasts at most, in real seconds; the longest one where the operation is not known."""
    api = hub.connection(name).api
    operations = api.operations if isinstance(api, Writer) else {}
    if operation in operations:
        return operations[operation].timeout_seconds
    return max((traits.timeout_seconds for traits in operations.values()), default=0)
