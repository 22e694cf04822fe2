"""Judging a world at rest: outside truth on the twins, zero-row SQL on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieout.engine import sealing
from tieout.store import effects, inbox, invariants, people, waits
from tieout_lab.simulation.truth import Truth, books
from tieout_lab.simulation.world import SimulatedWorld


async def outside(
    world: SimulatedWorld, *, excused: tuple[str, ...] = (), periods: Mapping[str, str] | None = None
) -> list[str]:
    """What is wrong in the twins' documents."""
    crm = await world.act("salesforce", "snapshot", objects=["Opportunity"])
    billing = await world.act("stripe", "snapshot")
    erp = await world.act("netsuite", "snapshot")
    return Truth(crm, billing, erp, excused=excused, periods=periods).violations()


async def inside(world: SimulatedWorld) -> list[str]:
    """What is wrong in what the hub wrote down."""
    if world.app is None:
        return []
    hub = world.app.hub
    found = []
    given = {"now": hub.now(), "real_now": hub.real_now()}
    for invariant in invariants.ALL:
        rows = await hub.store.fetch(invariant.rows, given)
        found += [f"{invariant.id} {invariant.text}: {row}" for row in rows]
    return found


async def along_the_way(world: SimulatedWorld) -> list[str]:
    """What was wrong while it happened, and what was promised and not kept."""
    assert world.app is not None  # noqa: S101 - a world at rest has a living process
    hub = world.app.hub
    found = list(world.history.wrong)
    for connection, event_id in sorted(world.history.acknowledged):
        known = await hub.store.fetch(inbox.KNOWN, {"connection": connection, "event_id": event_id})
        if not known:
            found.append(f"I06 {event_id} of {connection} was acknowledged and is not there")
    verdict = await sealing.verify(hub)
    if verdict.first_bad:
        found.append(f"I17 {verdict.message}")
    return found


async def in_hand(world: SimulatedWorld) -> tuple[str, ...]:
    """Billing and CRM ids that a person has in hand, or that wait behind one: parked and waiting lanes."""
    assert world.app is not None  # noqa: S101 - a world at rest has a living process
    rows = await world.app.hub.store.fetch(invariants.NOT_IDLE, {})
    return tuple(row[1] for row in rows)


async def content(world: SimulatedWorld) -> list[tuple[Any, ...]]:
    """The books by content, to compare one run with another."""
    return books(await world.act("netsuite", "snapshot"), await world.act("stripe", "snapshot"))


async def stopped(world: SimulatedWorld) -> list[str]:
    """Open exceptions and lanes that wait: in words."""
    assert world.app is not None  # noqa: S101 - as above
    store = world.app.hub.store
    found = [f"{row[1]} {row[5]}: {row[9]}"[:300] for row in await store.fetch(people.LIST, {})]
    for lane_id, _, state in await store.fetch(invariants.NOT_IDLE, {}):
        if state == "waiting":
            rows = await store.fetch(waits.OF_LANE, {"lane_id": lane_id})
            found += [f"{lane_id} waits for {row[2]}" for row in rows]
    return found


async def ways(world: SimulatedWorld) -> list[tuple[str, int]]:
    """How doubts were settled, and how often."""
    assert world.app is not None  # noqa: S101 - as above
    return [(row[0], row[1]) for row in await world.app.hub.store.fetch(effects.RESOLVED_COUNTS, {})]


async def events(world: SimulatedWorld) -> int:
    """How many events the hub took in."""
    assert world.app is not None  # noqa: S101 - as above
    return sum(row[2] for row in await world.app.hub.store.fetch(inbox.COUNTS, {}))
