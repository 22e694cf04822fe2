"""One seed, one company's life: what its people do, what goes wrong outside, where the hub's processes die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tieout_lab.simulation import judge, profiles
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.life import SMALL, Life, of_days
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import draw
from tieout_lab.simulation.world import SimulatedWorld

_BEGIN = datetime(2026, 1, 10, 20, tzinfo=UTC)
# The master data of the outside systems is older than any delay after which it is seen.
_OLD_SECONDS = 120
# Renewing and polling is most of what a quiet hour costs: nearer to the hub's own 120 s than a test would need.
_LEASE_SECONDS, _POLL_SECONDS = 60, 30


@dataclass
class Outcome:
    """What came of one seed. `violations` is empty when all is well."""

    seed: int
    violations: list[str]
    faults: dict[str, int]
    ways: dict[str, int]
    lives: int
    operations: int
    events: int
    hash: str
    documents: int
    parked: int = 0
    parts: list[str] = field(default_factory=list)
    replayed_by: str = ""

    def replay(self) -> str:
        """The one line that plays this seed again."""
        return self.replayed_by


@dataclass(frozen=True)
class Plan:
    """What is played: which seed, how long (0 days: a few deeds), against which faults, on how many processes (0: 1 to
    4, drawn), and what is left out of it."""

    seed: int
    days: int = 0
    faults: str = "all"
    workers: int = 0
    without: frozenset[str] = frozenset()

    def replay(self) -> str:
        """The one line that plays it again."""
        line = f"tieout sim --seed {self.seed} --seeds 1 --days {self.days} --faults {self.faults}"
        if self.workers:
            line += f" --workers {self.workers}"
        return line + (f" --without {','.join(sorted(self.without))}" if self.without else "")


async def _live(plan: Plan, change: Callable[[Any], None] | None, given: dict[str, Any]) -> Outcome:
    seed, chosen = plan.seed, profiles.profile(plan.faults)
    un_keyed = draw(seed, "un-keyed") < chosen.un_keyed and "un-keyed" not in plan.without
    workers = plan.workers or 1 + int(draw(seed, "workers") * 4)
    world = SimulatedWorld(
        seed,
        enforce_keys=not un_keyed,
        poll_seconds=_POLL_SECONDS,
        workers=workers,
        lease_seconds=_LEASE_SECONDS,
        **given,
    )
    world.erp.faults.enforce_keys = not un_keyed
    world.down_seconds = 40.0
    if change is not None:
        world.change = change
    size = of_days(plan.days) if plan.days else SMALL
    life = Life(seed, world, Business(world, _BEGIN), chosen, size, plan.without)
    try:
        await life.people.open()
        await asyncio.sleep(_OLD_SECONDS)
        life.trouble()
        await world.live()
        await life.play()
        await life.settle()
        return await _outcome(life, plan)
    finally:
        life.calm()
        await world.close()


async def _outcome(life: Life, plan: Plan) -> Outcome:
    world = life.world
    in_hand = await judge.in_hand(world)
    violations = [*await judge.outside(world, excused=in_hand), *await judge.inside(world)]
    violations += await judge.along_the_way(world)
    # Nothing here is for a person: whoever stopped, stopped wrongly.
    violations += [f"I21 {text}" for text in await judge.stopped(world)]
    violations += [f"I21 {text}" for text in await judge.restoring(world)]
    faults: Counter[str] = Counter(world.troubles)
    for twin in world.twins.values():
        faults.update(twin.faults.counts)
    return Outcome(
        seed=life.seed,
        violations=violations,
        faults=dict(faults),
        ways=dict(await judge.ways(world)),
        lives=world.lives,
        operations=world.tape.operations,
        events=await judge.events(world),
        hash=world.tape.hexdigest(),
        documents=len(await judge.content(world)),
        parked=len(in_hand),
        parts=life.parts(),
        replayed_by=plan.replay(),
    )


def live(seed: int, change: Callable[[Any], None] | None = None, **given: Any) -> Outcome:
    """Play one seed to its end and judge it. `change` alters each life's hub before it starts (planted bugs);
    `days`, `faults`, `workers`, `without` as in `Plan`."""
    names = ("days", "faults", "workers", "without")
    plan = Plan(seed, **{name: given.pop(name) for name in names if name in given})
    return play(plan, change, **given)


def play(plan: Plan, change: Callable[[Any], None] | None = None, **given: Any) -> Outcome:
    """Play a plan to its end and judge it."""
    return run_virtual(_live(plan, change, given))
