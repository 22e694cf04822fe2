"""Judging a world at rest: outside truth on the twins, zero-row SQL on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieout.store import invariants
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
        for row in await hub.store.fetch(invariant.rows, given):
            found.append(f"{invariant.id} {invariant.text}: {row}")
    return found


async def in_hand(world: SimulatedWorld) -> tuple[str, ...]:
    """Billing and CRM ids that a person has in hand, or that wait behind one: parked and waiting lanes."""
    assert world.app is not None  # noqa: S101 - a world at rest has a living process
    rows = await world.app.hub.store.fetch(invariants.NOT_IDLE, {})
    return tuple(row[1] for row in rows)


async def content(world: SimulatedWorld) -> list[tuple[Any, ...]]:
    """The books by content, to compare one run with another."""
    return books(await world.act("netsuite", "snapshot"), await world.act("stripe", "snapshot"))
