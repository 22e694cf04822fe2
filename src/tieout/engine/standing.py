"""How the hub stands: what is due, what waits, what is in doubt. One short look at each table."""

from __future__ import annotations

from tieout.canonical.model import Value
from tieout.engine.groups import shown
from tieout.engine.hub import Hub
from tieout.engine.unserved import unserved
from tieout.store import inbox, lanes, stories


class Standing(Value, frozen=True):
    """Lanes by state, and the rest of what a quiet hub has none of.

    `quiet`: nothing runs and nothing is due; what is ready only later (`ready_later`: a retry, the first of them in
    `next_due_seconds` technical seconds), waits for another document or is parked does not disturb it. `events` are
    counts by connection and state. `unserved`: groups with lanes due that no living worker runs."""

    ready: int
    ready_due: int
    ready_later: int
    next_due_seconds: int | None
    leased: int
    waiting: int
    parked: int
    idle: int
    in_doubt: int
    exceptions: int
    commands: int
    quiet: bool
    workers: int
    unserved: tuple[str, ...]
    events: dict[str, dict[str, int]]


async def standing(hub: Hub) -> Standing:
    """The hub at this moment."""
    now = hub.now()
    by_state: dict[str, int] = dict(await hub.store.fetch(lanes.STATES, {}))
    ((due, ready, next_due),) = await hub.store.fetch(stories.READY, {"now": now})
    ((in_doubt,),) = await hub.store.fetch(stories.DOUBTFUL, {})
    ((exceptions,),) = await hub.store.fetch(stories.OPEN_EXCEPTIONS, {})
    ((commands,),) = await hub.store.fetch(stories.WAITING_COMMANDS, {})
    alive = await hub.store.fetch(lanes.ALIVE, {"real_now": hub.real_now()})
    events: dict[str, dict[str, int]] = {}
    for connection, state, count in await hub.store.fetch_long(inbox.COUNTS, {}):
        events.setdefault(connection, {})[state] = count
    due, leased = int(due or 0), by_state.get("leased", 0)
    return Standing(
        ready=ready,
        ready_due=due,
        ready_later=ready - due,
        next_due_seconds=None if next_due is None else max(0, -(-(next_due - now) // 1_000_000)),
        leased=leased,
        waiting=by_state.get("waiting", 0),
        parked=by_state.get("parked", 0),
        idle=by_state.get("idle", 0),
        in_doubt=in_doubt,
        exceptions=exceptions,
        commands=commands,
        quiet=not leased and not due and not commands,
        workers=len(alive),
        unserved=tuple(shown(name) for name in await unserved(hub)),
        events=events,
    )
