"""Groups whose lanes are due and that no living worker serves: nothing starves silently."""

from __future__ import annotations

from tieout.engine.exceptions import exception
from tieout.engine.groups import runs, shown
from tieout.engine.hub import Hub
from tieout.store import lanes, people

_CODE = "no_worker"
# What has been due for so long (technical microseconds) is told of: a worker that is being replaced is no alarm.
_PATIENCE_MICROS = 60_000_000


async def unserved(hub: Hub) -> list[str]:
    """The groups that have lanes due for a minute and more, and no living worker."""
    due = await hub.store.fetch(lanes.GROUPS_DUE, {})
    overdue = [name for name, first in due if first <= hub.now() - _PATIENCE_MICROS]
    if not overdue:
        return []
    alive = await hub.store.fetch(lanes.ALIVE, {"real_now": hub.real_now()})
    return [name for name in overdue if not any(runs(row[4], name) for row in alive)]


async def raise_unserved(hub: Hub) -> list[str]:
    """Open an exception for each group that nobody serves, close it for each that somebody does again; answers the
    former."""
    left = await unserved(hub)
    for name in left:
        steps = exception(
            hub,
            _CODE,
            shown(name),
            cause(name),
            f"{remedy(name)}; a group leaves the configuration only when nothing of it is open",
            blocker=f"group|{name}",
        )
        await hub.store.commit(steps)
    for row in await hub.store.fetch(people.LIST, {}):
        if row[1] == _CODE and row[3].removeprefix("group|") not in left:
            closed = {"exception_id": row[0], "now": hub.now(), "resolution": "a worker runs them again"}
            await hub.store.commit([(people.RESOLVE_BLOCKER, closed)])
    return left


def cause(group: str) -> str:
    """What is wrong, in words."""
    return f"documents of {shown(group)} are due and no living worker runs them"


def remedy(group: str) -> str:
    """What runs the lanes of a group, in words."""
    return f"start `tieout work --group {group}`" if group else "start `tieout work`"
