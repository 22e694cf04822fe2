"""The outbox as people see it, and what they do about it: have events delivered again, switch a receiver on again."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tieout.canonical.model import Value
from tieout.engine import delivering
from tieout.engine.hub import Hub
from tieout.engine.moments import micros, moment
from tieout.engine.outbox import Event as Told
from tieout.engine.outbox import Receiver, Verdict
from tieout.store import outbox
from tieout.store.statements import Step

_PAGE = 500
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
STATES = ("pending", "delivered", "dead")


class Range(Value, frozen=True):
    """What is to be delivered to a receiver once more: events committed from `since` on and before `until`, one of them
    (`event_id`), or only the dead letters. Those that still wait stay as they are."""

    receiver: str
    since: datetime | None = None
    until: datetime | None = None
    event_id: str = ""
    dead: bool = False
    reason: str = ""


class Delivery(Value, frozen=True):
    """One event on its way to one receiver. `due_at`: when it is tried next, while it is pending."""

    receiver: str
    state: str
    attempts: int
    seq: int
    event_id: str
    type: str
    subject: str
    key: str
    at: datetime
    due_at: datetime | None
    done_at: datetime | None
    error: str
    data: msgspec.Raw


class ReceiverStanding(Value, frozen=True):
    """One receiver. `state`: on, off (it said that it wants no more: `reason`), or gone (not configured any more)."""

    receiver: str
    state: str
    reason: str
    types: tuple[str, ...]
    pending: int
    delivered: int
    dead: int
    oldest_pending_at: datetime | None


async def deliveries(hub: Hub, *, receiver: str = "", state: str = "", limit: int = 50) -> list[Delivery]:
    """Deliveries, the newest event first."""
    given = {"receiver": receiver, "state": state, "limit": limit}
    found = []
    for row in await hub.store.fetch_long(outbox.LIST, given):
        seq, event_id, type_, subject, key, at, data, name, stands, attempts, due_at, done_at, error = row
        found.append(
            Delivery(
                receiver=name,
                state=stands,
                attempts=attempts,
                seq=seq,
                event_id=event_id,
                type=type_,
                subject=subject,
                key=key,
                at=moment(at),
                due_at=moment(due_at) if stands == "pending" else None,
                done_at=None if done_at is None else moment(done_at),
                error=error,
                data=msgspec.Raw(data.encode()),
            )
        )
    return found


async def standings(hub: Hub) -> list[ReceiverStanding]:
    """Every receiver that is configured or still has deliveries."""
    off = {name: reason for name, reason, _ in await hub.store.fetch(outbox.OFF, {})}
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for name, state, count, since in await hub.store.fetch_long(outbox.COUNTS, {}):
        counts.setdefault(name, {})[state] = (count, since)
    configured = hub.outbox.receivers if hub.outbox is not None else {}
    found = []
    for name in sorted({*configured, *counts}):
        of = counts.get(name, {})
        found.append(
            ReceiverStanding(
                receiver=name,
                state="gone" if name not in configured else "off" if name in off else "on",
                reason=off.get(name, ""),
                types=tuple(sorted(configured[name].types)) if name in configured else (),
                pending=of.get("pending", (0, 0))[0],
                delivered=of.get("delivered", (0, 0))[0],
                dead=of.get("dead", (0, 0))[0],
                oldest_pending_at=moment(of["pending"][1]) if "pending" in of else None,
            )
        )
    return found


def receiver_of(hub: Hub, name: str) -> Receiver:
    """A configured receiver. ValueError when there is none."""
    receivers = hub.outbox.receivers if hub.outbox is not None else {}
    if name not in receivers:
        raise ValueError(f"no receiver {name!r} is configured; there are: {', '.join(receivers) or 'none'}")
    return receivers[name]


async def replay(hub: Hub, asked: Range, audit: Step) -> int:
    """Queue events for a receiver once more, under the ids that they have; answers how many. ValueError when the
    receiver is not configured, or when nothing says which events are meant."""
    receiver = receiver_of(hub, asked.receiver)
    if not (asked.since or asked.until or asked.event_id or asked.dead):
        raise ValueError("say which events: --since, --until, --id or --dead")
    for given in (asked.since, asked.until):
        if given is not None and given.tzinfo is None:
            raise ValueError(f"{given.isoformat()} needs a time zone: write {given.isoformat()}Z for UTC")
    page = {
        "receiver": asked.receiver,
        "since": micros(asked.since) if asked.since is not None else 0,
        "until": micros(asked.until or _LAST),
        "event_id": asked.event_id,
        "limit": _PAGE,
    }
    wanted = outbox.DEAD_LETTERS if asked.dead else outbox.AGAIN
    after, count = 0, 0
    steps = [audit]
    while True:
        rows = await hub.store.fetch_long(wanted, {**page, "after": after})
        now = hub.now()
        for seq, type_, key, state in rows:
            if type_ in receiver.types and state != "pending":
                steps.append(delivering.queued(seq, asked.receiver, key, now))
                count += 1
        if steps:
            await hub.store.commit(steps)
        if len(rows) < _PAGE:
            break
        after, steps = rows[-1][0], []
    if asked.dead and not (asked.since or asked.until or asked.event_id):
        await delivering.resolve_of(
            hub, asked.receiver, delivering.UNDELIVERED, "its dead letters are sent again"
        )
    return count


async def enable(hub: Hub, name: str, audit: Step) -> int:
    """Deliver to a receiver again that had switched itself off; answers how many events wait for it. ValueError when it
    is not configured."""
    receiver_of(hub, name)
    now = {"receiver": name, "now": hub.now()}
    await hub.store.commit([(outbox.SWITCH_ON, now), (outbox.BACK, now), audit])
    await delivering.resolve_of(hub, name, delivering.GONE, "it was switched on again")
    return next(one.pending for one in await standings(hub) if one.receiver == name)


async def test(hub: Hub, name: str) -> tuple[str, Verdict]:
    """Send an event of the type `test` to a receiver, past the outbox: nothing of it is kept. Answers its id and what
    came of it. ValueError when the receiver is not configured."""
    receiver = receiver_of(hub, name)
    event = Told(
        seq=0,
        event_id=f"test-{hub.ids.new()}",
        type="test",
        subject=name,
        key=name,
        at=hub.now(),
        data='{"test":true}',
    )
    return event.event_id, await receiver.deliver(event)
