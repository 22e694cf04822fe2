"""What a hub does that has nothing to do: it keeps its lease and asks outside, and writes nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter

from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.world import SimulatedWorld


async def _quiet(seconds: float) -> Counter[str]:
    """What one hub process does in so many seconds, after its beginning."""
    world = SimulatedWorld(1)
    try:
        await world.start()
        await asyncio.sleep(300)
        began = len(world.process.trail)
        await asyncio.sleep(seconds)
        return Counter(world.process.trail[began:])
    finally:
        await world.close()


def test_a_quiet_hub_claims_owns_and_frees_nothing() -> None:
    """Each of these was a transaction in vain, several times a minute."""
    did = run_virtual(_quiet(600))
    assert did["commit workers.renew"] > 100
    assert did["call changes.poll"] > 50
    vain = {"lanes.claim", "lanes.claim_suspect", "feeds.own", "workers.forget_dead", "budgets.recover"}
    assert {name: did[f"commit {name}"] for name in vain if did[f"commit {name}"]} == {}
