"""From the outbox to the receivers: one process hands on and delivers for all, as long as its lease lives.

At least once, under an id that never changes. The first delivery of an event never comes before that of an earlier one
of the same key. A delivery that fails is tried again with growing pauses, then it is a dead letter: the next of its key
goes on, and a person hears of it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from tieout.engine.exceptions import exception
from tieout.engine.hub import Hub
from tieout.engine.lease import Lease
from tieout.engine.moments import micros, moment
from tieout.engine.outbox import Event, Gone, NotTaken, Outbox, Receiver, Taken
from tieout.store import outbox, people, records
from tieout.store.statements import Refused, Row, Step

log = structlog.get_logger("tieout.outbox")
# Seconds before the second attempt, the third, ...; the last one for ever. As the specification's own example, with
# more of them in the first hour.
PAUSES = (5, 30, 120, 300, 900, 1800, 3600, 7200, 18_000, 36_000, 50_400)
# So many failures in a row are the receiver's, not the events': then one at a time is tried, after these pauses.
_DOWN = 10
_LONGEST_PROBE_SECONDS = 300
# A receiver that asks for more time gets this at most, before it is asked again.
_LONGEST_WAIT = timedelta(hours=1)
_HAND_ON = 200
PACE_REAL_SECONDS = 0.5
# The owner's row stands among those of the feeds; no connection can have this name.
_OWNER = "|outbox"
UNDELIVERED, GONE = "undelivered", "receiver_gone"


def blocker_of(receiver: str) -> str:
    """What the exceptions of a receiver are filed under."""
    return f"receiver|{receiver}"


class Delivering:
    """The loops of one process; they do nothing while another one owns the outbox."""

    def __init__(self, hub: Hub, configured: Outbox, lease: Lease) -> None:
        self.hub = hub
        self.lease = lease
        self.couriers = [Courier(hub, lease, one, configured) for one in configured.receivers.values()]
        self._configured = configured
        self._owned = False

    def stop(self) -> None:
        """What is on its way is dropped, and delivered again by whoever comes next."""
        for courier in self.couriers:
            courier.stopping = True

    async def own(self) -> bool:
        """Take the outbox if its owner's lease has run out; whether it is ours."""
        if self._owned:
            return True
        rows = await self.hub.store.fetch(records.FEED, {"connection": _OWNER})
        if not rows or rows[0][1] != self.lease.worker:
            own = {"connection": _OWNER, "worker": self.lease.worker, "real_now": self.hub.real_now()}
            await self.hub.store.commit([(records.FEED_OWN, own)])
            rows = await self.hub.store.fetch(records.FEED, {"connection": _OWNER})
        self._owned = rows[0][1] == self.lease.worker
        return self._owned

    async def hand_on(self) -> None:
        """Queue what was announced since, to every receiver that takes its type."""
        while self._owned and not self.lease.lost:
            rows = await self.hub.store.fetch(outbox.NEW, {"limit": _HAND_ON})
            if not rows:
                return
            now = self.hub.now()
            steps: list[Step] = []
            for seq, type_, key in rows:
                steps.append((outbox.HANDED_ON, {"seq": seq}))
                steps += [
                    queued(seq, name, key, now)
                    for name, one in self._configured.receivers.items()
                    if type_ in one.types
                ]
            try:
                await self.hub.store.commit(steps)
            except Refused:
                return  # somebody else has taken over

    async def deliver(self, courier: Courier) -> None:
        """One round of one receiver, as long as something is due."""
        if self._owned:
            await courier.round()

    async def tidy(self) -> None:
        """Give up what waits for too long, forget what was delivered long ago."""
        if not self._owned:
            return
        now = self.hub.now()
        before = now - micros(moment(0) + self._configured.give_up)
        overdue = {"now": now, "before": before, "error": "never tried: the receiver was off, down or gone"}
        (rows,) = await self.hub.store.commit([(outbox.OVERDUE, overdue)])
        for name in sorted({row[0] for row in rows}):
            log.error("undelivered", receiver=name, events=sum(row[0] == name for row in rows))
            await self.hub.store.commit(_undelivered(self.hub, name, "it was off or did not answer"))
        await self._forget(now - micros(moment(0) + self._configured.keep))

    async def _forget(self, before: int) -> None:
        after = 0
        while True:
            rows = await self.hub.store.fetch_long(outbox.OLDEST, {"after": after, "limit": _HAND_ON})
            old = [row for row in rows if row[1] < before]
            steps: list[Step] = []
            for seq, _, waits in old:
                if not waits:
                    steps += [(outbox.FORGET_DELIVERIES, {"seq": seq}), (outbox.FORGET, {"seq": seq})]
            if steps:
                await self.hub.store.commit(steps)
            if len(old) < _HAND_ON:
                return
            after = old[-1][0]

    async def age_seconds(self) -> dict[str, int]:
        """How long the oldest event waits, by receiver."""
        now = self.hub.now()
        found = dict.fromkeys(self._configured.receivers, 0)
        for name, since in await self.hub.store.fetch_long(outbox.WAITING, {}):
            found[name] = (now - since) // 1_000_000
        return found


def queued(seq: int, receiver: str, key: str, now: int) -> Step:
    """The step that has an event delivered to a receiver, once more if it was before."""
    return outbox.QUEUE, {"seq": seq, "receiver": receiver, "key": key, "now": now}


class Courier:
    """Delivers to one receiver, several events at once, never two of one key."""

    def __init__(self, hub: Hub, lease: Lease, receiver: Receiver, configured: Outbox) -> None:
        self.hub = hub
        self.lease = lease
        self.receiver = receiver
        self._give_up = configured.give_up
        self._failures = 0
        self._not_before: datetime | None = None
        self._flying: dict[int, asyncio.Task[None]] = {}
        self.stopping = False

    async def round(self) -> None:
        """Deliver what is due until nothing is; ends with nothing on its way, whatever happens."""
        try:
            while not self.lease.lost and not self.stopping and await self._fill():
                # Not for ever: what is announced meanwhile does not wait behind a slow one.
                await asyncio.wait(
                    self._flying.values(), timeout=PACE_REAL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in self._flying.values():
                task.cancel()
            ended = await asyncio.gather(*self._flying.values(), return_exceptions=True)
            self._flying.clear()
        for one in ended:
            if isinstance(one, Exception):
                raise one

    async def _fill(self) -> bool:
        """Send off what may leave now; whether anything is on its way."""
        for seq, task in list(self._flying.items()):
            if task.done():
                del self._flying[seq]
                task.result()
        free = (1 if self._failures >= _DOWN else self.receiver.at_once) - len(self._flying)
        waits = self._not_before is not None and self.hub.clock.now() < self._not_before
        # Somebody else delivers by the time that this lease has ended.
        if free > 0 and not waits and self.lease.outlives(self.receiver.timeout_seconds):
            due = {
                "receiver": self.receiver.name,
                "now": self.hub.now(),
                "limit": free + len(self._flying),
            }
            for row in await self.hub.store.fetch(outbox.DUE, due):
                if row[0] not in self._flying and free > 0:
                    free -= 1
                    self._flying[row[0]] = asyncio.create_task(self._send(row))
        return bool(self._flying)

    async def _send(self, row: Row) -> None:
        *columns, attempts, queued_at = row
        event = Event(**dict(zip(Event.__struct_fields__, columns, strict=True)))
        verdict = await self.receiver.deliver(event)
        self.hub.metrics.announced.labels(self.receiver.name, type(verdict).__name__.lower()).inc()
        where = {"seq": event.seq, "receiver": self.receiver.name, "now": self.hub.now()}
        if isinstance(verdict, Taken):
            steps: list[Step] = [(outbox.DELIVERED, where)]
            if self._failures >= _DOWN:
                log.info("receiver_back", receiver=self.receiver.name)
                steps.append((outbox.BACK, where))
            self._failures, self._not_before = 0, None
            await self.hub.store.commit(steps)
        elif isinstance(verdict, Gone):
            await self._off(verdict)
        else:
            self._failed_once_more(verdict)
            await self._failed(event, attempts, queued_at, verdict)

    def _failed_once_more(self, verdict: NotTaken) -> None:
        """Slow down for everybody where it is the receiver that fails."""
        self._failures += 1
        now = self.hub.clock.now()
        if self._failures >= _DOWN:
            pause = min(_LONGEST_PROBE_SECONDS, 5 << min(self._failures - _DOWN, 10))
            self._not_before = now + timedelta(seconds=pause)
        if self._failures == _DOWN:
            log.warning("receiver_down", receiver=self.receiver.name, reason=verdict.reason)
        if verdict.all_wait and verdict.retry_at is not None:
            self._not_before = min(verdict.retry_at, now + _LONGEST_WAIT)

    async def _failed(self, event: Event, attempts: int, queued_at: int, verdict: NotTaken) -> None:
        now = self.hub.clock.now()
        name = self.receiver.name
        where = {"seq": event.seq, "receiver": name, "attempt": attempts, "error": verdict.reason[:500]}
        if now - moment(queued_at) > self._give_up:
            dead = (outbox.DEAD, {**where, "now": micros(now)})
            log.error("undelivered", receiver=name, event_id=event.event_id, reason=verdict.reason)
            try:
                await self.hub.store.commit([dead, *_undelivered(self.hub, name, verdict.reason)])
            except Refused:
                return  # delivered, or given up, by somebody else meanwhile
            return
        jitter = self.hub.chance.jitter(f"{name}|{event.event_id}", attempts)
        seconds = PAUSES[min(attempts, len(PAUSES) - 1)] * (100 + int(20 * jitter)) // 100
        due = now + timedelta(seconds=seconds)
        if verdict.retry_at is not None:
            due = max(due, min(verdict.retry_at, now + _LONGEST_WAIT))
        await self.hub.store.commit([(outbox.FAILED, {**where, "due_at": micros(due)})])

    async def _off(self, verdict: Gone) -> None:
        name = self.receiver.name
        off = (outbox.SWITCH_OFF, {"receiver": name, "reason": verdict.reason, "now": self.hub.now()})
        opened = exception(
            self.hub,
            GONE,
            name,
            f"{verdict.reason}; nothing is delivered to it any more",
            f"settle it with who runs it, then `tieout outbox enable {name}`; or take it out of the configuration",
            blocker=blocker_of(name),
        )
        try:
            await self.hub.store.commit([off, *opened])
        except Refused:
            return  # told already
        log.error("receiver_gone", receiver=name, reason=verdict.reason)


def _undelivered(hub: Hub, receiver: str, reason: str) -> list[Step]:
    """One exception for the dead letters of a receiver, however many."""
    return exception(
        hub,
        UNDELIVERED,
        receiver,
        f"events could not be delivered to {receiver} in all the time that was given: {reason}",
        "`tieout outbox list --state dead` shows them; mend the receiver, then "
        f"`tieout outbox replay {receiver} --dead`",
        blocker=blocker_of(receiver),
    )


async def resolve_of(hub: Hub, receiver: str, code: str, resolution: str) -> None:
    """Close the exceptions of a receiver that are settled."""
    for row in await hub.store.fetch(people.LIST, {}):
        if row[1] == code and row[3] == blocker_of(receiver):
            gone = {"exception_id": row[0], "now": hub.now(), "resolution": resolution}
            await hub.store.commit([(people.RESOLVE, gone)])


async def retest(hub: Hub, blocker: str) -> str:
    """What is still wrong with the receiver of a blocker, or nothing."""
    for name, reason, _ in await hub.store.fetch(outbox.OFF, {}):
        if blocker == blocker_of(name):
            return f"{reason}; `tieout outbox enable {name}`"
    return ""
