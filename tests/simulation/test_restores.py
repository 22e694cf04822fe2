"""Lives of a company whose database is lost once and put back from an older backup, while calls fail on the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tieout.engine import restoring
from tieout.store.statements import Statement
from tieout_lab.simulation import judge, profiles
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.life import Life, Size
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import draw
from tieout_lab.simulation.world import SimulatedWorld

BEGIN = datetime(2026, 1, 10, 20, tzinfo=UTC)
# Deeds before the backup, in the time that is lost, and after the restore.
BEFORE, LOST, AFTER = 2, 4, 2
FOUND_AGAIN = Statement(
    "test.found_again",
    """SELECT COUNT(*) FROM effects WHERE state = 'CONFIRMED' AND attempt = 0 AND resolved_by <> ''""",
    returns=True,
)


async def _life(seed: int, *, keyed: bool) -> tuple[list[str], int]:
    """What is wrong in the end, and how many writes of the lost time were found without being sent again."""
    world = SimulatedWorld(seed, enforce_keys=keyed, poll_seconds=15, lease_seconds=30)
    world.erp.faults.enforce_keys = keyed
    size = Size(customers=2, steps=BEFORE, operations=10**9)
    life = Life(seed, world, Business(world, BEGIN), profiles.profile("calls"), size)
    try:
        await life.people.open()
        await asyncio.sleep(120)
        life.trouble()
        await world.live()
        await life.play()
        backup, taken_at = world.back_up(), world.clock.now()
        for step in range(BEFORE, BEFORE + LOST):
            await life._customer(step)
            await life._act(step)
            await life._pass(step + 1)
        # The machine is lost in the midst of it, and comes back up to an hour later.
        await asyncio.sleep(120 * draw(seed, "lost"))
        await world.put_back(backup)
        await asyncio.sleep(3600 * draw(seed, "away"))
        await world.restored(backup, taken_at)
        await world.live()
        for step in range(BEFORE + LOST, BEFORE + LOST + AFTER):
            await life._act(step)
            await life._pass(step + 1)
        await life.settle()
        for _ in range(40):
            if await restoring.progress(world.app.hub) is None:
                break
            await asyncio.sleep(60)
            await world.rest()
        wrong = [*await judge.outside(world), *await judge.inside(world), *await judge.stopped(world)]
        if (rest := await restoring.progress(world.app.hub)) is not None:
            wrong.append(f"not over: {rest}")
        ((found,),) = await world.app.hub.store.fetch(FOUND_AGAIN, {})
        return wrong, found
    finally:
        life.calm()
        await world.close()


def _ends_well(seed: int, *, keyed: bool) -> None:
    wrong, found = run_virtual(_life(seed, keyed=keyed))
    assert wrong == []
    assert found > 0


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("seed", range(4))
def test_a_life_with_a_restore_in_it_ends_like_any_other(seed: int, keyed: bool) -> None:
    _ends_well(seed, keyed=keyed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4, 104))
def test_a_hundred_lives_with_a_restore(seed: int) -> None:
    _ends_well(seed, keyed=bool(seed % 2))
