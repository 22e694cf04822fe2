"""Judging a world at rest: outside truth on the twins, zero-row SQL on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieout.engine import invariants
from tieout.engine import restoring as engine_restoring
from tieout.store import effects, inbox, people, waits
from tieout.store.invariants import NOT_IDLE
from tieout_lab.simulation.truth import Truth, books
from tieout_lab.simulation.world import SimulatedWorld


async def outside(
    world: SimulatedWorld, *, excused: tuple[str, ...] = (), periods: Mapping[str, str] | None = None
) -> list[str]:
    """What is wrong in the twins' documents."""
    crm = await world.act("salesforce", "snapshot", objects=["Opportunity", "Account", "Tieout_Invoice__c"])
    billing = await world.act("stripe", "snapshot")
    erp = await world.act("netsuite", "snapshot")
    return Truth(crm, billing, erp, excused=excused, periods=periods).violations()


async def inside(world: SimulatedWorld) -> list[str]:
    """What is wrong in what the hub wrote down."""
    if world.app is None:
        return []
    broken = [one for one in await invariants.examine(world.app.hub) if one.state == "broken"]
    return [f"{one.id} {row}" for one in broken for row in one.rows]


async def along_the_way(world: SimulatedWorld) -> list[str]:
    """What was wrong while it happened, and what was promised and not kept."""
    assert world.app is not None  # noqa: S101 - a world at rest has a living process
    hub = world.app.hub
    found = list(world.history.wrong)
    for connection, event_id in sorted(world.history.acknowledged):
        known = await hub.store.fetch(inbox.KNOWN, {"connection": connection, "event_id": event_id})
        if not known:
            found.append(f"I06 {event_id} of {connection} was acknowledged and is not there")
    return found + leaked(world)


def leaked(world: SimulatedWorld) -> list[str]:
    """I19: the secrets of this company that stand in the hub's database, readable."""
    secrets = {account.webhook_secret for account in world.billing.accounts.values()}
    secrets |= {account.api_key for account in world.billing.accounts.values()}
    secrets |= {line for path in world.directory.glob("*.pem") for line in path.read_text().splitlines()[1:3]}
    stored = b"".join(path.read_bytes() for path in sorted(world.directory.glob("tieout.db*")))
    return [
        f"I19 a secret stands in the database: {one[:6]}..."
        for one in sorted(secrets)
        if one.encode() in stored
    ]


async def in_hand(world: SimulatedWorld) -> tuple[str, ...]:
    """Billing and CRM ids that a person has in hand, or that wait behind one: parked and waiting lanes."""
    assert world.app is not None  # noqa: S101 - a world at rest has a living process
    rows = await world.app.hub.store.fetch(NOT_IDLE, {})
    return tuple(row[1] for row in rows)


async def content(world: SimulatedWorld) -> list[tuple[Any, ...]]:
    """The books by content, to compare one run with another."""
    return books(await world.act("netsuite", "snapshot"), await world.act("stripe", "snapshot"))


async def stopped(world: SimulatedWorld) -> list[str]:
    """Open exceptions and lanes that wait: in words."""
    assert world.app is not None  # noqa: S101 - as above
    store = world.app.hub.store
    found = [f"{row[1]} {row[5]}: {row[9]}"[:300] for row in await store.fetch(people.LIST, {})]
    for lane_id, _, state in await store.fetch(NOT_IDLE, {}):
        if state == "waiting":
            rows = await store.fetch(waits.OF_LANE, {"lane_id": lane_id})
            found += [f"{lane_id} waits for {row[2]}" for row in rows]
    return found


async def restoring(world: SimulatedWorld) -> list[str]:
    """A restore that is not over, in words."""
    assert world.app is not None  # noqa: S101 - as above
    progress = await engine_restoring.progress(world.app.hub)
    return [] if progress is None else [f"the restore is not over: {progress}"]


async def ways(world: SimulatedWorld) -> list[tuple[str, int]]:
    """How doubts were settled, and how often."""
    assert world.app is not None  # noqa: S101 - as above
    return [(row[0], row[1]) for row in await world.app.hub.store.fetch(effects.RESOLVED_COUNTS, {})]


async def events(world: SimulatedWorld) -> int:
    """How many events the hub took in."""
    assert world.app is not None  # noqa: S101 - as above
    return sum(row[2] for row in await world.app.hub.store.fetch(inbox.COUNTS, {}))
